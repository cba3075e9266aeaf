"""Digests of codes are those of their values, however wide the integers are."""

from __future__ import annotations

import numpy as np
import pytest

from annbatch.samplers._checks import digest_of_codes


@pytest.mark.parametrize("largest", [0, 127, 128, 32767, 32768, 2**31 - 1, 2**31, 2**62])
def test_codes_of_any_size_keep_their_values(largest):
    codes = np.array([-1, 0, largest - 1, largest])
    assert digest_of_codes(codes) == digest_of_codes(codes.copy())
    assert digest_of_codes(codes) != digest_of_codes(np.array([-1, 0, largest, largest]))
    assert digest_of_codes(codes) != digest_of_codes(np.array([0, 0, largest - 1, largest]))


def test_there_may_be_no_codes():
    assert digest_of_codes(np.empty(0, np.int64)) == digest_of_codes(np.empty(0, np.int8))
