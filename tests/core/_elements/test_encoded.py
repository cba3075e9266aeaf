"""What encoding costs: no more than the tokens of one batch ahead, and nothing where there is no encoder."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from annbatch import Loader
from annbatch._elements.encoded import Turn

if TYPE_CHECKING:
    import pandas as pd

    from annbatch.tokens import EncodeRows, Rows, Tokens


@dataclass
class Recording:
    """An encoder of nothing that notes which rows it was given, and on which threads."""

    widths = (64,)
    pad_id, pad_value = 0, 0.0

    def __post_init__(self) -> None:
        self.rows: list[int] = []
        self.threads: set[str] = set()

    def bind(self, var: pd.DataFrame) -> EncodeRows:
        def encode(rows: Rows, out: Tokens) -> None:
            out.length[:] = 0
            self.rows += rows.numbers.tolist()
            self.threads.add(threading.current_thread().name)

        return encode


def test_one_batch_is_encoded_ahead_and_no_more():
    recording = Recording()
    loader = Loader(batch_size=4, chunk_size=4, preload_nchunks=5, encoder=recording)
    loader = loader.add_dataset(np.ones((200, 3), np.float32))
    for number, _ in enumerate(loader):
        assert max(recording.rows) < 4 * (number + 2)
    assert sorted(recording.rows) == list(range(200))
    assert any(name.startswith("annbatch-read") for name in recording.threads)


def test_memory_is_that_of_two_batches_and_not_of_windows():
    peaks = []
    for encoder in (None, Recording()):
        loader = Loader(batch_size=100, chunk_size=100, preload_nchunks=20, encoder=encoder)
        for _ in loader.add_dataset(np.ones((6000, 3), np.float32)):
            pass
        peaks.append(loader.stats.peak_buffer_bytes)
    of_a_batch = 100 * (64 * (8 + 4 + 1) + 4)
    assert peaks[1] - peaks[0] < 4 * 1.25 * of_a_batch  # the one in use, the one before, and the one ahead


def test_a_window_begins_once_it_is_read_and_the_one_before_is_used_up():
    begun: list[int] = []
    turn = Turn()
    turn.is_read(0, lambda: begun.append(0))
    turn.is_read(1, lambda: begun.append(1))
    assert begun == [0]
    turn.is_used_up(0)
    assert begun == [0, 1]
    turn.is_used_up(1)
    turn.is_read(3, lambda: begun.append(3))
    turn.is_read(2, lambda: begun.append(2))
    assert begun == [0, 1, 2]
