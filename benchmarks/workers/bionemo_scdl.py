"""Measure BioNeMo SCDL: random single rows from memory maps, through torch's DataLoader."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from bionemo.scdl.io.single_cell_collection import SingleCellCollection
from bionemo.scdl.io.single_cell_memmap_dataset import SingleCellMemMapDataset
from bionemo.scdl.util.torch_dataloader_utils import collate_sparse_matrix_batch
from serve import serve
from torch.utils.data import DataLoader, RandomSampler  # noqa: TID251  (the peer's framework, not the core's)


def open_task(task):
    if task["kind"] == "convert":
        return lambda: _convert(task)
    cells = SingleCellMemMapDataset(task["store"])
    loader = DataLoader(
        cells,
        batch_size=task["batch_size"],
        sampler=RandomSampler(cells, num_samples=task["rows"]),
        collate_fn=collate_sparse_matrix_batch,
    )
    return lambda: sum(batch.shape[0] for batch in loader)


def _convert(task):
    store = Path(task["store"])
    with tempfile.TemporaryDirectory(dir=store.parent) as work:
        inputs = Path(work) / "h5ad"
        inputs.mkdir()
        for number, path in enumerate(task["h5ad"]):
            (inputs / f"{number}.h5ad").symlink_to(Path(path).resolve())
        collection = SingleCellCollection(str(Path(work) / "parts"))
        collection.load_h5ad_multi(str(inputs), max_workers=1, use_X_not_raw=True)
        shutil.rmtree(store, ignore_errors=True)
        collection.flatten(str(store), destroy_on_copy=True)
    return len(SingleCellMemMapDataset(str(store)))


if __name__ == "__main__":
    serve(open_task)
