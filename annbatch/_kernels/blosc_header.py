"""The header of a Blosc chunk.

Byte 0 is the version of the format, 1 of the compressor's format, 2 flags, 3 the bytes per item. Three little-endian
int32 follow: bytes of the decoded chunk, of a block, of the encoded chunk. Behind the header come the offsets of the
blocks, as int32, unless the chunk is stored; then the blocks, each of one or more streams, which begin with their
encoded size as int32.

Source: ``README_CHUNK_FORMAT.rst`` of c-blosc, whose version 2 of the format zarr's codec reads and writes, and of
c-blosc2.
"""

from __future__ import annotations

HEADER = 16
"""Bytes of the header."""

VERSION = 2
"""Version of the format; Blosc 2 writes 5."""

SHUFFLED, STORED, UNSPLIT, LZ4 = 0x01, 0x02, 0x10, 0x20
"""Flags: items are shuffled by bytes; the chunk is not compressed; each block is one stream; compressed by LZ4."""

EXTENDED = 0x05
"""Flags that are both set if Blosc 2's longer header follows, which zarr's codec does not write."""
