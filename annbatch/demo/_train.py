"""Fit a classifier from batches of a collection, and score it on rows that it never saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._progress import progress_bar
from ..loader import Loader
from ..samplers import RandomSampler, SequentialSampler
from ..transforms import NormalizeLog1p
from ._model import Classifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..abc import Adapter
    from ..collection import DatasetCollection
    from ._stopwatch import Stopwatch

TRAINING_SHARE = 0.8
FEWEST_STEPS = 400  # brings this model near its best on every data set tried

Labelled = tuple[Any, np.ndarray]


@dataclass(frozen=True, slots=True)
class Fit:
    """Settings and results of training.

    Attributes
    ----------
    framework
        ``"numpy"`` or the name of the adapter that trained.
    batch_size, n_train, n_held_out, n_epochs
        How it trained; the rows are those of each part of the collection.
    n_batches
        Batches trained on, all epochs together.
    bytes_read, read_seconds, peak_buffer_bytes
        The loader's own figures for training.
    truth, predicted
        Codes of the held-out rows.
    majority
        The commonest code among the training rows.
    """

    framework: str
    batch_size: int
    n_train: int
    n_held_out: int
    n_epochs: int
    n_batches: int
    bytes_read: int
    read_seconds: float
    peak_buffer_bytes: int
    truth: np.ndarray
    predicted: np.ndarray
    majority: int

    @property
    def accuracy(self) -> float:
        """Share of the held-out rows that were predicted right."""
        return float(np.mean(self.truth == self.predicted))

    @property
    def baseline(self) -> float:
        """Share that would be right if every row were called the commonest label of the training rows."""
        return float(np.mean(self.truth == self.majority))


def fit(
    collection: DatasetCollection,
    label: str,
    classes: pd.Index,
    *,
    adapter: Adapter | None,
    seed: int,
    progress: bool,
    clock: Stopwatch,
) -> Fit:
    """Train on the first four fifths of a shuffled collection and score on the rest.

    Parameters
    ----------
    collection
        Shuffled when it was made: that makes any range of rows a random one.
    label
        The column of ``obs`` to learn.
    classes
        Its values; the position of a value is its code. Rows without a value are left out.
    adapter
        Adapter of the framework to train in; None for NumPy.
    seed
        Seed of the order of the rows; the model starts from zeros.
    progress
        Whether to show a bar.
    clock
        Counts the time of what is done.
    """
    n_train = int(collection.n_obs * TRAINING_SHARE)
    batch_size = 256 if n_train >= 20_000 else 32
    window = 32, batch_size, batch_size  # chunks of 32 rows, and 32 batches in memory at a time
    shuffled = RandomSampler(*window, mask=slice(0, n_train), rng=np.random.default_rng(seed))
    in_order = SequentialSampler(*window, mask=slice(n_train, collection.n_obs))

    with clock.measure("first batch and step"):
        transform = NormalizeLog1p() if _holds_counts(collection) else None
    options: dict[str, Any] = {
        "to": adapter,
        "transform": transform,
        "obs_columns": [label],
        "densify": True,
        "dtype": "float32",
    }
    n_seen = np.zeros(len(classes), np.int64)
    with Loader(batch_sampler=shuffled, **options).use_collection(collection) as loader:
        n_epochs = -(-FEWEST_STEPS // len(loader))
        n_batches = n_epochs * len(loader)
        batches = (pair for _ in range(n_epochs) for pair in _labelled(loader, label, classes))
        with progress_bar(total=n_batches, desc="Training", unit="batch", progress=progress) as bar:
            with clock.measure("first batch and step"):  # opening, filling the first window, compiling
                classifier = Classifier(collection.n_vars, len(classes), adapter.dense if adapter else np.asarray)
                x, codes = next(batches)
                classifier.step(x, codes)
            bar.update()
            for x, codes in clock.each("waiting for batches", batches):
                with clock.measure("training steps"):
                    classifier.step(x, codes)
                n_seen += np.bincount(codes, minlength=len(classes))
                bar.update()
        stats = loader.stats

    with (
        clock.measure("held-out cells"),
        Loader(batch_sampler=in_order, **options).use_collection(collection) as loader,
    ):
        pairs = [(codes, classifier.predict(x)) for x, codes in _labelled(loader, label, classes)]
    truth, predicted = (np.concatenate(codes) for codes in zip(*pairs, strict=True))
    return Fit(
        framework=adapter.name if adapter else "numpy",
        batch_size=batch_size,
        n_train=n_train,
        n_held_out=collection.n_obs - n_train,
        n_epochs=n_epochs,
        n_batches=n_batches,
        bytes_read=stats.bytes_read,
        read_seconds=stats.read_seconds,
        peak_buffer_bytes=stats.peak_buffer_bytes,
        truth=truth,
        predicted=predicted,
        majority=int(n_seen.argmax()),
    )


def _labelled(loader: Loader, label: str, classes: pd.Index) -> Iterator[Labelled]:
    """Yield the rows of each batch that have a label, with its code."""
    for batch in loader:
        obs = batch["obs"]
        assert obs is not None  # it has the label
        codes = classes.get_indexer(pd.Index(obs[label], dtype=object)).astype(np.int64)
        known = codes >= 0
        yield (batch["X"], codes) if known.all() else (batch["X"][known], codes[known])


def _holds_counts(collection: DatasetCollection) -> bool:
    """Return whether X has no value below 0, judged by its first rows: what is negative was normalised before."""
    n_rows = min(1024, collection.n_obs)
    sampler = SequentialSampler(chunk_size=n_rows, preload_nchunks=1, batch_size=n_rows, mask=slice(0, n_rows))
    with Loader(batch_sampler=sampler, densify=True).use_collection(collection) as loader:
        return bool(next(iter(loader))["X"].min() >= 0)
