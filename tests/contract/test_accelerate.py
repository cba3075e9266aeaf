"""What Hugging Face Accelerate does with a loader: prepares it, sends it out, skips batches, and saves its position."""

from __future__ import annotations

import numpy as np
import pytest

from annbatch import Loader

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
accelerate = pytest.importorskip("accelerate", reason="needs Accelerate: pip install accelerate", exc_type=ImportError)

N_ROWS = 96


def cells() -> Loader:
    loader = Loader(
        batch_size=8, chunk_size=4, preload_nchunks=4, shuffle=True, seed=0, to="torch", return_index=True, keys=("X",)
    )
    return loader.add_dataset(np.arange(N_ROWS, dtype="f4")[:, None])


def rows(batches) -> list[list[int]]:
    return [batch["index"].tolist() for batch in batches]


def expected(epoch: int) -> list[list[int]]:
    loader = cells()
    loader.set_epoch(epoch)
    return rows(loader)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # of torchdata
@pytest.mark.parametrize("settings", [{}, {"dispatch_batches": True}, {"use_stateful_dataloader": True}], ids=str)
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_prepared_loader_yields_the_batches_of_each_epoch(settings, wrapped):
    from accelerate.utils import DataLoaderConfiguration

    if "use_stateful_dataloader" in settings:
        pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")
    loader = torch.utils.data.DataLoader(cells(), batch_size=None) if wrapped else cells()
    prepared = accelerate.Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(**settings)).prepare(loader)
    assert [rows(prepared) for _ in range(3)] == [expected(epoch) for epoch in range(3)]
    assert len(prepared) == N_ROWS // 8


def test_batches_are_skipped():
    skipped = accelerate.skip_first_batches(torch.utils.data.DataLoader(cells(), batch_size=None), 5)
    assert rows(skipped) == expected(0)[5:]


def test_a_checkpoint_goes_on_within_an_epoch(tmp_path):
    def begin():
        accelerator, loader = accelerate.Accelerator(cpu=True), cells()
        accelerator.register_for_checkpointing(loader)
        return accelerator, loader

    accelerator, loader = begin()
    batches = iter(loader)
    taken = rows(next(batches) for _ in range(5))
    accelerator.save_state(str(tmp_path / "one"))
    accelerator, other = begin()
    accelerator.load_state(str(tmp_path / "one"))
    assert taken + rows(other) == expected(0)
    assert rows(other) == expected(1)
