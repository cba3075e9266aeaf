"""Measure SLAF: Geneformer's ranks of cells from a Lance dataset of its own."""

from __future__ import annotations

from pathlib import Path

from serve import serve
from slaf import SLAFArray
from slaf.data import SLAFConverter
from slaf.ml.dataloaders import SLAFDataLoader


def open_task(task):
    store = Path(task["h5ad"][0]).parent / "cells.slaf"
    if not store.exists():
        SLAFConverter().convert(task["h5ad"][0], str(store))
    loader = SLAFDataLoader(
        SLAFArray(str(store)),
        tokenizer_type=task["tokenizer"],
        max_genes=task["max_len"],
        batch_size=512,
        n_epochs=1_000,
        verbose=False,
    )
    batches = iter(loader)

    def sample():
        n_rows = 0
        while n_rows < task["rows"]:
            n_rows += len(next(batches)["input_ids"])
        return n_rows

    return sample


if __name__ == "__main__":
    serve(open_task)
