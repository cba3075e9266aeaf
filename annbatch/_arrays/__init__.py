"""Arrays from which rows are read: one module per kind of storage, one interface for all.

Matrices
    ``open`` chooses the reader of a user's matrix. ``sources``: the rows of one matrix, CSR or dense, made of arrays.
    ``csr_pair`` reads values and column numbers of a CSR matrix together. ``values`` takes values by position (indptr).
Kinds of storage
    ``array``: their interface. ``memory``: NumPy arrays. ``native``: zarr on the local disk. ``remote``: zarr in object
    stores. ``hdf5``: HDF5 datasets. ``library``: arrays that only a library can read. ``dask``: lazy arrays.
Native reading
    ``read_plan``: which part of which chunk to decode. ``chunk_locations``: where the planned chunks lie.
    ``chunk_files``: open files with their indexes. ``page_cache``: whether reads wait for a disk. ``byte_count``: bytes
    fetched outside of jobs.
"""
