"""Inputs of a conversion, opened and read by rows.

``open`` opens files, stores, groups and AnnData objects. ``matrices`` and ``csc`` read their matrices by rows, from
stored arrays by way of ``flat_array``; ``columns`` reads and joins the columns of their data frames; ``annotations``
holds what describes their variables, and ``graphs`` chooses matrices of rows by rows. ``narrow`` finds the smallest
integer dtype that keeps every value.
"""
