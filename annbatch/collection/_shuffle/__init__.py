"""Between the passes: the order of the rows, and the rows in that order.

``job`` is the plan of a conversion, ``estimate`` its time and space. ``order`` draws a key per row, ``grouping`` sorts
rows by columns of ``obs``; ``renumber`` turns an order into the new numbers of rows, for graphs. ``read`` is the first
pass; its rows wait for the second one ``in_memory`` or ``on_disk``.
"""
