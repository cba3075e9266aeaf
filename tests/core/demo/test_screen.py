"""The made-up screen has the effects that it returns."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

from annbatch.demo import write_screen


def test_drugs_change_expression_by_their_effects(tmp_path):
    files, effects = write_screen(tmp_path, cells_per_line=4_000, n_genes=60, n_drugs=2, seed=1)
    assert (effects.loc["DMSO"] == 0).all()
    assert ((effects != 0).sum(axis=1)[1:] == 12).all()
    for path in files:
        cells = ad.read_h5ad(path)
        share = np.log(cells.to_df().groupby(cells.obs["drug"], observed=True).sum() + 1)
        found = (share - share.loc["DMSO"]).loc[["drug 1", "drug 2"]]
        found = found.sub(found.median(axis=1), axis=0)  # totals of cells differ
        assert np.corrcoef(found.to_numpy().ravel(), effects.iloc[1:].to_numpy().ravel())[0, 1] > 0.95
    again, _ = write_screen(tmp_path, cells_per_line=4_000, n_genes=60, n_drugs=2, seed=1)
    assert (ad.read_h5ad(again[2]).X != cells.X).nnz == 0


@pytest.mark.parametrize(("name", "value"), [("cells_per_line", 3), ("n_genes", 4), ("n_drugs", 0)])
def test_sizes_out_of_range_are_refused(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be at least {value + 1}, got {value}"):
        write_screen(tmp_path, **{name: value})
