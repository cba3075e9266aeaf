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
    cells = SLAFArray(str(store))

    def sample():
        n_rows = 0
        loader = SLAFDataLoader(  # a new one, as it reads ahead between samples, too
            cells, tokenizer_type=task["tokenizer"], max_genes=task["max_len"], batch_size=512, verbose=False
        )
        for batch in loader:
            n_rows += len(batch["input_ids"])
            if n_rows >= task["rows"]:
                break
        return n_rows

    return sample


if __name__ == "__main__":
    serve(open_task)
