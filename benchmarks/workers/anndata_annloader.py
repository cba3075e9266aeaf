"""Measure anndata's AnnLoader: random single rows from h5ad files."""

from __future__ import annotations

import anndata as ad
from anndata.experimental import AnnCollection, AnnLoader
from serve import serve
from torch.utils.data import RandomSampler  # noqa: TID251  (the peer's framework, not the core's)


def open_task(task):
    files = [ad.read_h5ad(path, backed="r") for path in task["h5ad"]]
    cells = AnnCollection(files, join_vars="inner", harmonize_dtypes=False)
    sampler = RandomSampler(range(cells.shape[0]), num_samples=task["rows"])
    loader = AnnLoader(cells, batch_size=task["batch_size"], sampler=sampler, use_default_converter=False)
    return lambda: sum(batch.X.shape[0] for batch in loader)


if __name__ == "__main__":
    serve(open_task)
