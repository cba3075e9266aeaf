"""The two checksums of a file's bytes: each sees changes that the other does not."""

from __future__ import annotations

from typing import Any, NamedTuple

import deflate
import google_crc32c


class Checksums(NamedTuple):
    """CRC-32C and CRC-32 of the same bytes.

    The CRC-32C of bytes that end with their own CRC-32C, as chunks do, depends on their number alone, so that it does
    not see one chunk in place of another. The CRC-32, zlib's, has another polynomial. libdeflate computes it at 27 GB/s
    per core, the CRC-32C takes twice as long.
    """

    crc32c: int = 0
    crc32: int = 0

    def extended(self, data: Any) -> Checksums:
        """Return the checksums of these bytes and ``data``, a buffer, after them."""
        return Checksums(google_crc32c.extend(self.crc32c, data), deflate.crc32(data, self.crc32))
