"""The suite of encoders finds what is wrong with one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from annbatch.testing import EncoderTests
from annbatch.tokens import TopGenes


class Wrong(TopGenes):
    """Encoders that break one rule each."""

    how = ""

    def bind(self, var):
        right = super().bind(var)

        def encode(rows, out):
            right(rows, out)
            if self.how == "a length beyond the width":
                out.length[:1] = 9
            elif self.how == "other rows":
                out.ids[1:, 0] = out.ids[:-1, 0]
            elif self.how == "an id left out":
                out.length[:] = 6
                out.values[np.isnan(out.values)] = 0
            elif self.how == "its input":
                rows.data[:] = 1
            elif self.how == "memory of others" and out.length.base is not None:
                out.length.base[0] = 5

        return encode


def failures(encoder: TopGenes) -> set[str]:
    suite = EncoderTests()
    suite.encoder, suite.var = encoder, pd.DataFrame(index=[f"g{i}" for i in range(40)])
    found = set()
    for name in dir(suite):
        if name.startswith("test_") and name != "test_pickle":
            try:
                getattr(suite, name)()
            except AssertionError:
                found.add(name)
    return found


@pytest.mark.parametrize(
    ("how", "test"),
    [
        ("a length beyond the width", "test_lengths"),
        ("other rows", "test_each_row_alone"),
        ("an id left out", "test_dtypes"),
        ("its input", "test_inputs_are_left_alone"),
        ("memory of others", "test_writes_where_it_should"),
    ],
)
def test_a_broken_rule_is_found(how, test):
    class Broken(Wrong):
        pass

    Broken.how = how
    assert test in failures(Broken(6))


def test_a_right_encoder_passes():
    assert failures(TopGenes(6)) == set()
