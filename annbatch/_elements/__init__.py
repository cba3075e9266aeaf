"""One element (X, a layer, an obsm) over all datasets: planned, started, and cut into batches.

``element``: the interface. ``form``: whether and where sparse becomes dense. ``matrix``: chooses the element. ``csr``
and ``dense``: stored and yielded alike, or stored sparse and yielded dense. ``csr_selected`` and ``dense_selected``:
other columns. ``staged``: densified on a device, by windows. ``transformed``: other values. ``encoded``:
batches with their tokens.
"""
