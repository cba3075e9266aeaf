"""Measure cell-load: sets of cells with control cells, from an h5ad file in the form that it reads."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anndata as ad
import pandas as pd
from cell_load.data_modules import PerturbationDataModule
from serve import serve


def open_task(task):
    folder = Path(task["h5ad"][0]).parent / "cell_load"
    file = folder / "cells.h5ad"
    if not file.exists():
        folder.mkdir(exist_ok=True)
        cells = ad.read_h5ad(task["h5ad"][0])
        group = cells.obs[task["group"]].astype(str)
        constant = pd.Categorical(["all"] * len(group))
        cells.obs = pd.DataFrame({"gene": pd.Categorical(group), "cell_type": constant, "gem_group": constant})
        cells.obs.index = group.index
        cells.write_h5ad(file)
    with tempfile.TemporaryDirectory() as config:
        path = Path(config) / "config.toml"
        path.write_text(f'[datasets]\ncells = "{folder}"\n[training]\ncells = "train"\n[zeroshot]\n[fewshot]\n')
        module = PerturbationDataModule(
            toml_config_path=str(path),
            batch_size=16,
            num_workers=1,
            control_pert=task["control"],
            embed_key=None,
            output_space="all",
            cell_sentence_len=task["set_size"],
            should_yield_control_cells=False,
        )
        module.setup()
    loader = module.train_dataloader()

    batches = endless(loader)

    def sample():
        n_rows = 0
        while n_rows < task["rows"]:
            batch = next(batches)
            n_rows += len(batch["pert_cell_emb"]) + len(batch["ctrl_cell_emb"])
        return n_rows

    return sample


def endless(loader):
    while True:
        yield from loader


if __name__ == "__main__":
    serve(open_task)
