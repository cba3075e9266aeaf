"""All compiled code: numba kernels, and the C functions that they call.

Reading
    ``decode`` copies rows out of stretches of chunks, which ``chunk_readers`` read: they ``fetch`` a chunk, or what is
    needed of it, and ``decompress`` zstd, gzip, zlib and LZ4. ``differences`` are added up. All of these are compiled
    once, and call what depends on dtypes and codecs by its address.
    ``contexts`` knows which decoders there are; ``inflate`` reads the gzip chunks of HDF5.
    ``csr`` makes stored CSR rows dense, or selects columns, while they are decoded; it uses ``lookup`` and ``sort``.
    ``scatter`` copies rows that are in memory. ``normalize`` transforms values, once ``repeats`` has added up those of
    repeated columns.
Tokens
    ``rows`` brings rows into one form; ``token_ranks``, ``token_bins`` and ``token_samples`` are what encoders make of
    them, with the sort of ``token_order`` and the numbers of ``random_words``; ``token_rows`` pads them.
Conversion
    ``encode`` writes Blosc chunks; ``transpose`` turns CSC into CSR; ``narrow`` casts floats that hold integers;
    ``gather`` copies rows from anywhere in memory; ``checksum`` is a CRC-32C that other threads need not wait for.
Shared
    ``jit``: how functions are compiled and cached. ``copy``: casts, and non-temporal stores. ``blosc_header``: the
    format of a chunk. ``clib``: functions of the C library and of libraries in wheels. ``intrinsics``: what numba
    lacks.
"""
