"""Measure scDataset: random blocks of rows from h5ad files, as its documentation advises."""

from __future__ import annotations

import anndata as ad
from anndata.experimental import AnnCollection
from scdataset import BlockShuffling, scDataset
from serve import serve


def open_task(task):
    files = [ad.read_h5ad(path, backed="r") for path in task["h5ad"]]
    cells = AnnCollection(files, join_vars="inner", harmonize_dtypes=False)
    dataset = scDataset(
        cells,
        BlockShuffling(block_size=task["chunk_size"]),
        batch_size=task["batch_size"],
        fetch_factor=task["window"] // task["batch_size"],
        fetch_transform=lambda view: view.X,  # sparse, as the others yield it
        seed=0,
    )

    def sample():
        n_rows = 0
        for batch in dataset:
            n_rows += batch.shape[0]
            if n_rows >= task["rows"]:  # nothing is read ahead, so nothing is read in vain
                break
        return n_rows

    return sample


if __name__ == "__main__":
    serve(open_task)
