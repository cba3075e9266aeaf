"""All compiled code: numba kernels, and the C functions that they call.

Reading
    ``decode`` reads stretches of chunks and copies their rows out; ``decompress`` knows zstd, gzip, zlib and LZ4,
    ``contexts`` which decoders there are; ``inflate`` reads the gzip chunks of HDF5.
    ``csr`` makes stored CSR rows dense, or selects columns, while they are decoded; it uses ``lookup`` and ``sort``.
    ``scatter`` copies rows that are in memory. ``normalize`` transforms values, once ``repeats`` has added up those of
    repeated columns.
Conversion
    ``encode`` writes Blosc chunks; ``transpose`` turns CSC into CSR; ``narrow`` casts floats that hold integers.
Shared
    ``copy``: non-temporal stores. ``blosc_header``: the format of a chunk. ``clib``: functions of the C library and of
    libraries in wheels. ``intrinsics``: what numba lacks.

Numba caches compiled kernels on disk, by the content of the kernel's own file: after editing a kernel that others call,
delete the cache (``*.nbi`` and ``*.nbc`` in ``__pycache__``).
"""
