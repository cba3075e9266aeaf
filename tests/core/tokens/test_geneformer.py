"""Geneformer's ranks: its published definition in NumPy, and values worked out by hand."""

from __future__ import annotations

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
from annbatch.tokens import GeneformerRanks, Vocabulary

N_GENES = 9
NAMES = [f"ENSG{i}" for i in range(N_GENES)]
# Two genes have no id; medians are such that several ratios of counts are equal.
IDS = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3} | {
    name: 10 + i for i, name in enumerate(NAMES) if i not in (2, 6)
}
MEDIANS = dict(zip(NAMES, [1.0, 2.0, 1.0, 0.5, 3.0, 1.0, 1.0, 0.1, 2.0], strict=True))
VOCABULARY = Vocabulary(IDS, missing="ignore")


def oracle(x: np.ndarray, max_len: int, *, special: bool) -> tuple[list[list[int]], list[list[float]]]:
    """Return ids and values as the published program has them: of genes with an id, those detected, sorted."""
    known = np.array([name in IDS for name in NAMES])
    medians, ids = np.array([MEDIANS[name] for name in NAMES])[known], np.array([IDS.get(name, -1) for name in NAMES])
    tokens, values = [], []
    for row in x.astype(np.float64):
        scaled = row[known] / (row.sum() or 1) * 10_000 / medians  # the program has NaN of a row without counts
        detected = np.nonzero(scaled)[0]
        order = detected[np.argsort(-scaled[detected], kind="stable")]
        cut = order[: max_len - 2] if special else order[:max_len]
        one, value = ids[known][cut].tolist(), scaled[cut].astype(np.float32).tolist()
        tokens.append([IDS["<cls>"], *one, IDS["<eos>"]] if special else one)
        values.append([0.0, *value, 0.0] if special else value)
    return tokens, values


def encode(x: Any, encoder: GeneformerRanks) -> dict[str, np.ndarray]:
    loader = Loader(batch_size=x.shape[0], chunk_size=x.shape[0], preload_nchunks=1, encoder=encoder, keys="obs")
    (batch,) = loader.add_dataset(x, var=pd.DataFrame(index=NAMES))
    return batch["tokens"]


COUNTS = hnp.arrays(np.uint16, st.tuples(st.integers(1, 6), st.just(N_GENES)), elements=st.integers(0, 4))


@given(COUNTS, st.integers(3, 12), st.booleans(), st.booleans())
def test_it_is_the_published_definition(x, max_len, special, is_sparse):
    encoder = GeneformerRanks(MEDIANS, VOCABULARY, max_len, special_tokens=special)
    ids, values = oracle(x, max_len, special=special)
    tokens = encode(sp.csr_matrix(x) if is_sparse else x, encoder)
    assert tokens["length"].tolist() == [len(row) for row in ids]
    for i, row in enumerate(ids):
        n = len(row)
        assert tokens["ids"][i].tolist() == row + [0] * (max_len - n)
        assert tokens["values"][i].tolist() == values[i] + [0.0] * (max_len - n)
        assert tokens["mask"][i].tolist() == [True] * n + [False] * (max_len - n)


def test_worked_by_hand():
    # Total 100. ENSG0: 40 / 1, ENSG1: 10 / 2, ENSG4: 48 / 3, ENSG7: 2 / 0.1, each times 10,000 / 100.
    x = np.zeros((1, N_GENES), np.float32)
    x[0, [0, 1, 4, 7]] = 40, 10, 48, 2
    tokens = encode(x, GeneformerRanks(MEDIANS, VOCABULARY, 6, special_tokens=True))
    assert tokens["ids"].tolist() == [[2, 10, 17, 14, 11, 3]]
    assert tokens["values"].tolist() == [[0, 4000, 2000, 1600, 500, 0]]
    assert tokens["length"].tolist() == [6]


def test_the_order_does_not_depend_on_genes_without_an_id():
    x = np.array([[4, 3, 0, 1, 5, 2, 0, 1, 1]], dtype="f4")
    other = x.copy()
    other[0, [2, 6]] = 1000, 7
    encoder = GeneformerRanks(MEDIANS, VOCABULARY, 8)
    one, two = encode(x, encoder), encode(other, encoder)
    assert one["ids"].tolist() == two["ids"].tolist()
    np.testing.assert_allclose(one["values"], two["values"] * (other.sum() / x.sum()), rtol=1e-6)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_values_that_are_no_counts_are_refused(value):
    x = np.ones((4, N_GENES), np.float32)
    x[2, 6] = value
    with pytest.raises(
        ValueError, match=rf"`encoder` GeneformerRanks needs values .* positive and finite, got {value} in row 2"
    ):
        encode(x, GeneformerRanks(MEDIANS, VOCABULARY))


def test_a_gene_without_a_median_is_refused():
    medians = dict.fromkeys(NAMES[:-1], 1.0)
    with pytest.raises(ValueError, match=r"`medians` must have every gene .*, got none of 1: 'ENSG8'"):
        encode(np.ones((1, N_GENES)), GeneformerRanks(medians, VOCABULARY))


def test_medians_are_found_without_versions():
    var = pd.DataFrame(index=[f"{name}.3" for name in NAMES])
    bound: Any = GeneformerRanks(MEDIANS, VOCABULARY).bind(var)
    assert bound.medians[bound.columns >= 0].tolist() == [MEDIANS[name] for name in NAMES if name in IDS]


class TestGeneformerRanks(EncoderTests):
    encoder = GeneformerRanks(MEDIANS, VOCABULARY, 6, special_tokens=True)
    var = pd.DataFrame(index=NAMES)


class TestGeneformerRanksOfManyGenes(EncoderTests):
    encoder = GeneformerRanks({f"g{i}": 0.5 + i % 7 for i in range(300)}, {f"g{i}": i for i in range(300)}, 200)
    var = pd.DataFrame(index=[f"g{i}" for i in range(300)])
