"""Rows drawn by the class that they belong to."""

from __future__ import annotations

import math
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from .._arguments import in_words
from .._plan.ranges import as_slices, concatenated_ranges, split_every
from ._checks import check_positive, check_weights, digest, whole
from ._chunk import chunk_lengths
from ._row_set import RowSet, RowsLike, Runs, called, check_mask
from ._seeding import keyed_rng
from ._window_sampler import WindowSampler

if TYPE_CHECKING:
    from ..types import LoadRequest
    from ._window_sampler import Draw


class ClassSampler(WindowSampler):
    """Draws batches of one class each, with replacement.

    For every ``lcm(chunk_size, batch_size)`` rows, the fewest that are whole chunks and whole batches, a class is drawn
    by ``class_weights``. A chunk is ``chunk_size`` consecutive rows *of the class*. It begins at one that is drawn
    uniformly, and wraps around at the last, so that all rows of a class are equally likely. Works on any collection:
    if it is sorted by the class (``groupby``), a chunk is one contiguous read; if it is shuffled, the rows of a chunk
    are spread over many others.

    Parameters
    ----------
    chunk_size
        Consecutive rows of a class per chunk.
    preload_nchunks
        Chunks per window: those that are in memory together.
    batch_size
        Rows per batch; must divide ``chunk_size * preload_nchunks``. With a multiple of ``chunk_size``, a class is
        drawn for every batch.
    classes
        Class of each row of the loader, none missing: ``collection.obs(["cell_type"])["cell_type"].values``.
    num_samples
        Rows per epoch.
    class_weights
        ``(n_categories,)`` relative frequency of each class, in the order of ``classes.categories``; default, equal.
        A class without positive weight is not drawn.
    mask
        Rows to sample from: a slice, a boolean mask, row numbers, or a :class:`RowSet`; default, all. Weights of
        classes without a row in it go to the others.
    drop_last
        Whether a last batch of fewer than ``batch_size`` rows is left out.
    rng
        Generator or seed; one integer is drawn from it now, and is the sampler's seed from then on.

    Raises
    ------
    TypeError
        If ``classes`` is not a categorical, or ``class_weights`` is a Series, whose index would be ignored.
    ValueError
        If an argument is out of range, a class is missing, or no class of positive weight is in ``mask``.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from annbatch.samplers import ClassSampler
    >>> classes = pd.Categorical(["b"] * 30 + ["a"] * 70)
    >>> sampler = ClassSampler(
    ...     5, 4, 10, classes=classes, num_samples=40, rng=np.random.default_rng(0)
    ... )
    >>> window = next(sampler.sample(100))
    >>> rows = np.r_[tuple(window["requests"])]
    >>> [set(classes[rows[batch]]) for batch in window["splits"]]
    [{'a'}, {'a'}]
    """

    def __init__(
        self,
        chunk_size: int,
        preload_nchunks: int,
        batch_size: int,
        *,
        classes: pd.Categorical,
        num_samples: int,
        class_weights: np.ndarray | None = None,
        mask: RowsLike | None = None,
        drop_last: bool = False,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__(chunk_size, preload_nchunks, batch_size, drop_last=drop_last, mask=mask, rng=rng)
        self._num_samples = whole(num_samples, "num_samples")
        check_positive(num_samples=self._num_samples)
        if not isinstance(classes, pd.Categorical):
            raise TypeError(f"`classes` must be a pandas.Categorical, got {type(classes).__name__}.")
        self._codes = np.array(classes.codes)
        self.categories = classes.categories
        missing = np.flatnonzero(self._codes < 0)
        if len(missing):
            raise ValueError(f"`classes` must name a class for every row, got none for {len(missing)} rows.")
        self._class_weights = _class_weights(class_weights, len(classes.categories))
        self._digests = {
            "classes": digest(self._codes.astype("<i8")),
            "class_weights": digest(self._class_weights.astype("<f8")),
        }
        with called("mask"):
            rows = RowSet(self._mask, len(classes))
        self._drawable = _Drawable(rows, self._codes, self._class_weights)

    @property
    def shuffle(self) -> bool:
        """True, as rows are drawn at random."""
        return True

    def drawn_codes(self) -> np.ndarray:
        """Return the codes of the classes that may be drawn, ascending."""
        return self._drawable.classes

    @property
    def mask(self) -> slice | RowSet:
        """Rows to sample from."""
        return self._mask

    @mask.setter
    def mask(self, value: RowsLike) -> None:
        mask = check_mask(value)
        with called("mask"):
            rows = RowSet(mask, len(self._codes))
        self._drawable = _Drawable(rows, self._codes, self._class_weights)
        self._mask = mask

    def validate(self, n_obs: int) -> None:
        """Raise ``ValueError`` unless there is a class for each of the ``n_obs`` rows."""
        if n_obs != len(self._codes):
            raise ValueError(f"`classes` must have one entry per row of the loader ({n_obs}), got {len(self._codes)}.")

    def identity(self) -> dict[str, Any]:
        """Return a description that is equal for two samplers if they make the same batches."""
        own = {"seed": self.order_seed(), "num_samples": self._num_samples}
        return super().identity() | own | self._digests

    def for_ranks(self, n_ranks: int) -> Self:
        made = copy(self)
        made._num_samples = self._num_samples * n_ranks
        return made

    def _n_samples(self, n_obs: int) -> int:
        return self._num_samples

    def _open(self, n_obs: int, epoch: int) -> Draw:
        return partial(self._drawn, self._drawable, epoch)

    def _drawn(self, rows: _Drawable, epoch: int, window: int, n_rows: int) -> LoadRequest:
        rng = keyed_rng(self.order_seed(), epoch, window)
        lengths = chunk_lengths(n_rows, self._chunk_size)
        n_chunks = self._rows_of_one_class() // self._chunk_size
        of_chunk = np.repeat(self._classes_of_window(rows, rng, epoch, window, n_rows), n_chunks)
        drawn = rows.draw(of_chunk[: len(lengths)], lengths, rng)
        requests = drawn if self._chunk_size == 1 else as_slices(drawn, lengths)  # of single rows, slices are slow
        # Rows are shuffled within groups; batches are cut from these.
        order = np.lexsort((rng.random(n_rows), np.arange(n_rows) // self._shuffled_rows()))
        return {"requests": requests, "splits": split_every(order, self._batch_size)}

    def codes_of_batches(self, epoch: int, batches: range) -> np.ndarray:
        """Return the code of the class of each of consecutive batches of an epoch."""
        window_size = self._chunk_size * self._preload_nchunks
        per_window, class_rows = window_size // self._batch_size, self._rows_of_one_class()
        codes, first = [], batches.start // per_window
        for window in range(first, -(-batches.stop // per_window)):
            rng = keyed_rng(self.order_seed(), epoch, window)
            n_rows = min(window_size, self._n_rows(0) - window * window_size)
            drawn = self._classes_of_window(self._drawable, rng, epoch, window, n_rows)
            codes.append(drawn[np.arange(-(-n_rows // self._batch_size)) * self._batch_size // class_rows])
        start = batches.start - first * per_window
        return np.concatenate([np.empty(0, dtype=np.int64), *codes])[start : start + len(batches)]

    def _classes_of_window(
        self, rows: _Drawable, rng: np.random.Generator, epoch: int, window: int, n_rows: int
    ) -> np.ndarray:
        """Return the classes of a window, one for each :meth:`_rows_of_one_class` rows."""
        return rows.draw_classes(-(-n_rows // self._rows_of_one_class()), rng)

    def _rows_of_one_class(self) -> int:
        """Return the number of rows, in whole chunks, for which one class is drawn."""
        return math.lcm(self._chunk_size, self._batch_size)

    def _shuffled_rows(self) -> int:
        """Return the number of rows that are shuffled among each other."""
        return self._rows_of_one_class()


class WeightedClassSampler(ClassSampler):
    """Draws batches that mix classes by ``class_weights``, with replacement.

    Chunks are those of :class:`ClassSampler`, but a class is drawn for each chunk, and the rows of a whole window are
    shuffled among each other, so that the shares of classes in a batch follow their weights. Parameters and errors are
    those of :class:`ClassSampler`.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from annbatch.samplers import WeightedClassSampler
    >>> classes = pd.Categorical(["b"] * 30 + ["a"] * 70)
    >>> sampler = WeightedClassSampler(
    ...     5, 4, 10, classes=classes, num_samples=40, rng=np.random.default_rng(0)
    ... )
    >>> sampler.n_batches(100)
    4
    """

    def _rows_of_one_class(self) -> int:
        return self._chunk_size

    def _shuffled_rows(self) -> int:
        return self._chunk_size * self._preload_nchunks


class _Drawable:
    """The rows of each class that can be drawn, one class after the other."""

    def __init__(self, rows: RowSet, codes: np.ndarray, weights: np.ndarray) -> None:
        numbers = np.asarray(rows)
        of_rows = codes[numbers]
        counts = np.bincount(of_rows, minlength=len(weights))
        self.classes = np.flatnonzero((counts > 0) & (weights > 0))
        if not len(self.classes):
            raise ValueError(f"`class_weights` must be positive for a class in the mask, got none in {rows}.")
        share = weights[self.classes]
        self._share = share / share.sum()
        self._first = np.cumsum(counts) - counts
        self._counts = counts
        self._runs = Runs.of(numbers[np.argsort(of_rows, kind="stable")])

    def draw_classes(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return the codes of ``n`` classes, drawn by weight."""
        return rng.choice(self.classes, size=n, p=self._share)

    def draw(self, classes: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return row numbers: for each class, consecutive rows of it, from one that is drawn uniformly."""
        counts = self._counts[classes]
        positions = concatenated_ranges(rng.integers(counts), lengths) % np.repeat(counts, lengths)
        return self._runs.at(np.repeat(self._first[classes], lengths) + positions)


def _class_weights(weights: Any, n_classes: int) -> np.ndarray:
    if weights is None:
        return np.ones(n_classes)
    if isinstance(weights, pd.Series):
        raise TypeError(
            "`class_weights` must be an array, whose order is that of classes.categories, got a Series: pass "
            "`class_weights.reindex(classes.categories).to_numpy()`."
        )
    try:
        positive = np.maximum(np.asarray(weights, dtype=np.float64), 0.0)
    except (TypeError, ValueError) as error:
        raise TypeError(f"`class_weights` must be an array of numbers, got {in_words(weights)}.") from error
    if positive.shape != (n_classes,):
        raise ValueError(f"`class_weights` must have one weight per category ({n_classes},), got {positive.shape}.")
    return check_weights(positive, "class_weights")
