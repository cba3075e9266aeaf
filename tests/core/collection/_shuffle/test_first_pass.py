"""Blocks are cut by the sizes of their rows, not by the average size."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from annbatch.collection._inputs.chosen import Choice
from annbatch.collection._inputs.open import open_input
from annbatch.collection._schema.schema import describe
from annbatch.collection._shuffle.first_pass import _end


@pytest.mark.parametrize("backed", [None, "r", False])
def test_no_block_is_larger_than_requested(tmp_path: Path, backed: str | bool | None) -> None:
    lengths = np.concatenate([np.ones(5000, np.int64), np.full(40, 1000), np.zeros(500, np.int64), [3000]])
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])
    counts = sparse.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), (len(lengths), 3000))
    ad.AnnData(counts).write_h5ad(tmp_path / "0.h5ad")
    load = None if backed is False else partial(ad.read_h5ad, backed=backed)
    with open_input(str(tmp_path / "0.h5ad"), load, Choice()) as found:
        described = describe(found, found.annotations())
        blocks = [(0, 0)]
        while blocks[-1][1] < len(lengths):
            start = blocks[-1][1]
            blocks.append((start, _end(found, described, described.text_bytes, (start, len(lengths)), 20_000)))
    assert all(a < b for a, b in blocks[1:])
    sizes = [8 * int(indptr[b] - indptr[a]) for a, b in blocks]
    assert all(size <= 20_000 or b == a + 1 for size, (a, b) in zip(sizes, blocks, strict=True))
    assert len(blocks) < 60
