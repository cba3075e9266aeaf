"""First pass, in: inputs opened and read by rows.

``open``: files, stores, groups and AnnData objects. ``matrices``: their matrices (``csc``: transposed by windows;
``flat_array``: stored arrays read by chunks). ``columns`` and ``annotations``: tables. ``narrow``: the smallest exact
dtype.
"""
