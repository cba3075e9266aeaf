"""One pass of a loader: from the rows that a sampler requests to the batches that the user gets.

``selection``: requested elements and columns. ``add_datasets`` and ``datasets``: the data, and whether it fits
together. ``modalities``: rows that a modality lacks. ``encoding``: the matrix that becomes tokens. ``epoch``: one pass.
``window``: its plan and its reading. ``read_ahead``: windows in advance. ``resources``: threads and memory.
``delivery``: batches, converted by the adapter (``adapters``). ``progress``: the position, to resume. ``stats``: counts
and the read-amplification warning.
"""
