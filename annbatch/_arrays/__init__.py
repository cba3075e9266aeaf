"""Where rows are read from: one storage kind a file, one interface for all.

``array``: what a storage kind must do. ``memory``: NumPy arrays. ``spans``: whatever a library reads for us.
``native``: zarr on the local disk. ``lazy``: dask arrays.
``rows``: CSR matrices and dense arrays made of such arrays. ``open``: which of them a user's object is.
"""
