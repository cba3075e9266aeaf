"""A fuzzer: stores, files, states and answers of servers are damaged at random, and read.

``python -m tests.fuzz --mutations 1000000 --seed 1`` runs it from the root of the repository. Mutation ``n`` of a seed
is the same on every machine: ``--only n`` repeats one and shows its traceback. ``victims`` are what is damaged and how
it is read, ``mutate`` damages it, ``worker`` runs mutations one after the other in a process with little memory, and
``run`` watches such processes from outside, which may crash or hang.
"""
