"""The checksum without the GIL is that of ``google_crc32c``."""

from __future__ import annotations

import google_crc32c
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annbatch._kernels.checksum import extend_crc32c


@given(before=st.binary(max_size=50), data=st.binary(max_size=3000))
def test_extend_crc32c(before: bytes, data: bytes) -> None:
    crc = extend_crc32c(0, np.frombuffer(before, np.uint8))
    assert extend_crc32c(crc, np.frombuffer(data, np.uint8)) == google_crc32c.value(before + data)
