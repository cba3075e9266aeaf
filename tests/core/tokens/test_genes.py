"""The largest genes of a row, and random ones: what NumPy makes of the same rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annbatch import Loader
from annbatch.testing import EncoderTests
from annbatch.tokens import RandomGenes, TopGenes, Vocabulary

NAMES = list("abcdefg")
VOCABULARY = Vocabulary({"<pad>": 50} | {name: 10 + i for i, name in enumerate(NAMES) if name != "c"}, missing="ignore")
KNOWN = np.array([name != "c" for name in NAMES])
VALUES = hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(7)), elements=st.integers(-2, 3).map(float))


def encode(x: Any, encoder: Any, *, epochs: int = 1) -> list[dict[str, np.ndarray]]:
    loader = Loader(batch_size=x.shape[0], chunk_size=x.shape[0], preload_nchunks=1, encoder=encoder, seed=0)
    loader = loader.add_dataset(x, var=pd.DataFrame(index=NAMES))
    return [batch["tokens"] for _ in range(epochs) for batch in loader]


@given(VALUES, st.integers(1, 9), st.booleans())
def test_top_genes_are_sorted_by_value(x, k, is_sparse):
    (tokens,) = encode(sp.csr_matrix(x) if is_sparse else x, TopGenes(k, VOCABULARY))
    for i, row in enumerate(x):
        genes = np.flatnonzero((row != 0) & KNOWN)
        genes = genes[np.argsort(-row[genes], kind="stable")][:k]
        n = len(genes)
        assert tokens["length"][i] == n
        assert tokens["ids"][i].tolist() == (10 + genes).tolist() + [50] * (k - n)
        assert tokens["values"][i].tolist() == row[genes].tolist() + [0.0] * (k - n)


@pytest.mark.parametrize("unexpressed", [False, True])
@given(x=VALUES, k=st.integers(1, 9))
def test_random_genes_are_some_of_the_row(unexpressed, x, k):
    (tokens,) = encode(x, RandomGenes(k, VOCABULARY, unexpressed=unexpressed))
    for i, row in enumerate(x):
        from_these = np.flatnonzero(KNOWN if unexpressed else (row != 0) & KNOWN)
        n = tokens["length"][i]
        genes = tokens["ids"][i, :n] - 10
        assert n == min(k, len(from_these))
        assert (np.diff(genes) > 0).all()
        assert np.isin(genes, from_these).all()
        assert tokens["values"][i, :n].tolist() == row[genes].tolist()


@pytest.mark.parametrize("unexpressed", [False, True])
def test_each_choice_is_as_likely(unexpressed):
    n = 3000
    x = np.tile(np.array([0, 2, 9, 3, 4, 5, 6], dtype="f4"), (n, 1))  # 6 genes have an id, of which 5 are expressed
    (tokens,) = encode(x, RandomGenes(3, VOCABULARY, unexpressed=unexpressed))
    seen = Counter(map(tuple, tokens["ids"].tolist()))
    expected = n / (20 if unexpressed else 10)
    assert len(seen) == n / expected
    assert max(abs(count - expected) for count in seen.values()) < 6 * np.sqrt(expected)


def test_each_epoch_and_each_row_has_a_choice_of_its_own():
    x = np.ones((50, 7), np.float32)
    one, other = (tokens["ids"] for tokens in encode(x, RandomGenes(3), epochs=2))
    assert len({tuple(row) for row in one.tolist()}) > 15
    assert 5 < (one == other).all(axis=1).sum() + 10 < 50
    assert encode(x, RandomGenes(3))[0]["ids"].tolist() == one.tolist()


def test_values_that_have_no_order_are_refused():
    with pytest.raises(ValueError, match=r"`encoder` TopGenes needs values that are 0 or finite, got nan in row 0"):
        encode(np.array([[1, 2, 3, np.nan, 0, 0, 0]]), TopGenes(2))


VAR = pd.DataFrame(index=[f"g{i}" for i in range(80)])
SOME = Vocabulary({f"g{i}": i for i in range(70)}, missing="ignore")


class TestTopGenes(EncoderTests):
    encoder = TopGenes(8, SOME)
    var = VAR


class TestRandomGenes(EncoderTests):
    encoder = RandomGenes(8)
    var = VAR


class TestRandomGenesOfAll(EncoderTests):
    encoder = RandomGenes(40, SOME, unexpressed=True)
    var = VAR
