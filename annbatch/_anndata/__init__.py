"""AnnData and MuData objects, in memory, lazy or stored: their elements, and annotations by rows.

``dataset``: one dataset of a loader. ``containers``: its elements by key (``keys``). ``frames``: data frames of one
dataset, of stored or lazy ``columns``. ``table``: a data frame over all datasets, of ``joined_column``s. ``variables``:
the columns of a batch, joined over datasets.
"""
