"""scGPT's bins: its published definition in NumPy, and values worked out by hand."""

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
from annbatch.tokens import ScGPTBins, Vocabulary

N_GENES = 12
NAMES = [f"g{i}" for i in range(N_GENES)]
IDS = {"<pad>": 60, "<cls>": 61} | {name: i for i, name in enumerate(NAMES) if i != 5}
VOCABULARY = Vocabulary(IDS, missing="ignore")
KNOWN = np.array([name in IDS for name in NAMES])


def oracle(values: np.ndarray, n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the last bin of each expressed value of a row, and the one before the first that it may be in."""
    edges = np.quantile(values.astype(np.float64), np.linspace(0, 1, n_bins - 1))
    return np.digitize(values, edges), np.digitize(values, edges, right=True)


def encode(x: Any, encoder: ScGPTBins, *, names: list[str] = NAMES) -> list[dict[str, np.ndarray]]:
    loader = Loader(
        batch_size=x.shape[0], chunk_size=x.shape[0], preload_nchunks=1, encoder=encoder, keys="obs", seed=1
    )
    loader = loader.add_dataset(x, var=pd.DataFrame(index=names))
    return [batch["tokens"] for batch in loader]


ROWS = st.tuples(st.integers(1, 4), st.just(N_GENES))
COUNTS = hnp.arrays(np.float32, ROWS, elements=st.integers(0, 6).map(float) | st.sampled_from([4095.0, 4096.0, 1e6]))
FRACTIONS = hnp.arrays(np.float32, ROWS, elements=st.sampled_from([0, 0.25, 0.1, 0.7, 1.5, 3, 12.25]))


@pytest.mark.slow
@given(COUNTS | FRACTIONS, st.integers(2, 9), st.sampled_from(["one", "both"]), st.booleans())
def test_it_is_the_published_definition(x, n_bins, side, is_sparse):
    encoder = ScGPTBins(VOCABULARY, n_bins=n_bins, max_len=N_GENES + 1, side=side, pad_value=-2, cls_value=0)
    (tokens,) = encode(sp.csr_matrix(x) if is_sparse else x, encoder)
    for i, row in enumerate(x):
        genes = np.flatnonzero((row != 0) & KNOWN)
        n = len(genes) + 1
        assert tokens["length"][i] == n
        assert tokens["ids"][i].tolist() == [61, *genes.tolist(), *[60] * (N_GENES + 1 - n)]
        assert tokens["values"][i, 0] == 0
        assert (tokens["values"][i, n:] == -2).all()
        if len(genes) == 0:
            continue
        last, before = oracle(row[genes], n_bins)
        got = tokens["values"][i, 1:n]
        if side == "one":
            assert got.tolist() == last.tolist()
        else:
            assert ((got == last) | ((got > before) & (got < last))).all()
        assert got.min() >= 1
        assert got.max() <= n_bins - 1


def test_worked_by_hand():
    # Quantiles 0, 1/3, 2/3 and 1 of 1, 1, 1, 3, 4, 8, 9: places 0, 2, 4, 6 of the sorted values, so 1, 1, 4 and 9.
    x = np.array([[1, 0, 3, 1, 8, 7, 9, 0, 1, 4, 0, 0]], dtype="f4")  # 7 has no id
    (tokens,) = encode(x, ScGPTBins(VOCABULARY, n_bins=5, max_len=10, side="one"))
    assert tokens["ids"].tolist() == [[61, 0, 2, 3, 4, 6, 8, 9, 60, 60]]
    assert tokens["values"].tolist() == [[0, 2, 2, 2, 3, 4, 2, 3, 0, 0]]
    (tokens,) = encode(x, ScGPTBins(VOCABULARY, n_bins=5, max_len=10))
    ones = tokens["values"][0, [1, 3, 6]]
    assert set(ones.tolist()) <= {1, 2}
    assert tokens["values"][0, [2, 4, 5, 7]].tolist() == [2, 3, 4, 3]


def test_a_value_of_several_bins_comes_into_each_of_them_alike():
    n = 4000
    x = np.zeros((n, N_GENES), np.float32)
    x[:, :5] = 1  # all five equal: each may be in any of the bins 1..4
    (tokens,) = encode(x, ScGPTBins(VOCABULARY, n_bins=5, max_len=6))
    values = tokens["values"][:, 1:]
    counts = np.bincount(values.astype(int).ravel(), minlength=5)
    assert counts[0] == 0
    assert np.abs(counts[1:] - n * 5 / 4).max() < 6 * np.sqrt(n * 5 * 3 / 16)
    assert np.abs(np.corrcoef(values.T)[np.triu_indices(5, 1)]).max() < 0.1


def test_counts_and_their_logarithms_have_the_same_bins():
    rng = np.random.default_rng(0)
    names = [f"g{i}" for i in range(400)]
    counts = rng.poisson(rng.gamma(0.3, 8.0, (50, 400))).astype(np.float32)
    logarithms = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)
    encoder = ScGPTBins({"<cls>": 400} | {name: i for i, name in enumerate(names)}, max_len=401)
    (one,), (other,) = encode(counts, encoder, names=names), encode(logarithms, encoder, names=names)
    np.testing.assert_array_equal(one["values"], other["values"])
    for i in range(50):
        last, _ = oracle(counts[i][counts[i] > 0], 51)
        assert one["values"][i, 1 : len(last) + 1].max() == last.max()


def test_a_long_row_is_cut_to_a_random_choice_of_its_genes():
    x = np.zeros((2000, N_GENES), np.float32)
    x[:, :5] = [3, 1, 2, 5, 4]
    encoder = ScGPTBins(VOCABULARY, n_bins=7, max_len=4, side="one")
    last, _ = oracle(x[0, :5], 7)
    seen: Counter[tuple[int, ...]] = Counter()
    (tokens,) = encode(x, encoder)
    for (cls, *genes), (_, *bins) in zip(tokens["ids"].tolist(), tokens["values"].tolist(), strict=True):
        assert cls == 61
        assert bins == last[genes].tolist()
        seen[tuple(genes)] += 1
    assert len(seen) == 10  # three of five, in the order of columns
    assert max(abs(count - 200) for count in seen.values()) < 6 * np.sqrt(200)


def test_without_sampling_the_first_genes_stay():
    x = np.ones((1, N_GENES), np.float32)
    (tokens,) = encode(x, ScGPTBins(VOCABULARY, max_len=4, sampling=False, cls=None))
    assert tokens["ids"].tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("value", [-0.5, np.nan])
def test_values_that_cannot_be_binned_are_refused(value):
    x = np.ones((2, N_GENES), np.float32)
    x[1, 3] = value
    with pytest.raises(
        ValueError, match=rf"`encoder` ScGPTBins needs values .* positive and finite, got {value} in row 1"
    ):
        encode(x, ScGPTBins(VOCABULARY))


class TestScGPTBins(EncoderTests):
    encoder = ScGPTBins(VOCABULARY, n_bins=6, max_len=7)
    var = pd.DataFrame(index=NAMES)


class TestScGPTBinsOfManyGenes(EncoderTests):
    encoder = ScGPTBins({"<cls>": 0} | {f"g{i}": i + 1 for i in range(300)}, max_len=60, buckets=(16, 32))
    var = pd.DataFrame(index=[f"g{i}" for i in range(300)])
