"""One element (X, a layer, an obsm) over all datasets: its share of a window, planned, begun, and cut into batches.

``csr`` and ``dense``: as it is stored. ``densified``: stored sparse, dense in batches. ``selected`` and
``dense_selected``: with other columns. ``transformed``: with other values.
"""
