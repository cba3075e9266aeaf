"""A matrix whose batches come with the tokens that an encoder makes of them, one batch ahead of its consumer."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .._runtime.fork import fork_safe_lock
from .._runtime.threads import usable_cores
from ..batch import CSR
from ..errors import CorruptDataError
from ..tokens import Rows, Tokens
from .element import followed_by, lend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from .._arrays.array import Job
    from .._plan.window_rows import DatasetRows, WindowRows
    from .._runtime.buffers import BufferPool
    from ..tokens import Encoder, EncodeRows
    from .element import Element, ElementPlan, ElementWindow

_SLICES = 2
"""Slices of a batch per core: rows differ in length."""

_DENSE_ROWS = 128
"""Dense rows whose non-zeros are collected at a time."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch and its tokens.

    Attributes
    ----------
    key
        Key under which the user gets the batch itself, too; None: not from here.
    matrix
        The batch itself.
    tokens
        ``ids``, ``values``, ``mask`` and ``length``.
    """

    key: str | None
    matrix: CSR | np.ndarray
    tokens: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class EncodedElement:
    """A matrix and the tokens of its rows.

    Tokens of a batch are made once the one before is delivered, on the reading threads, while the user works on that:
    so they take the memory of one batch more, and not of windows.

    Attributes
    ----------
    key
        Key of the matrix, which errors name.
    element
        Reads the matrix.
    width
        Number of its columns.
    encoder
        Encoder that the user gave.
    encode
        What it has bound to the columns.
    ids_dtype
        Dtype of ids.
    seed
        Seed of random tokens where the order of rows needs none.
    is_yielded
        Whether batches hold the matrix itself, too, as it is read for this.
    """

    key: str
    element: Element
    width: int
    encoder: Encoder
    encode: EncodeRows
    ids_dtype: np.dtype
    seed: int
    is_yielded: bool

    def of_pass(self, seed: int, submit: Callable[[Job], Future[None]]) -> EncodingPass:
        """Return the element for one pass.

        Parameters
        ----------
        seed
            Number (64 bits) of the pass, on which the seeds of rows depend.
        submit
            Function that runs a job on a reading thread.
        """
        return EncodingPass(self, seed, submit)


@dataclass(frozen=True, slots=True)
class EncodingPass:
    """The element of one pass, whose windows hand over to each other: one batch is encoded ahead, wherever it is."""

    of: EncodedElement
    seed: int
    submit: Callable[[Job], Future[None]]
    turn: Turn = field(default_factory=lambda: Turn())
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> EncodedPlan:
        """Plan the reading of one window."""
        return EncodedPlan(self, self.of.element.plan(window, shares), window, next(self.numbers))


@dataclass(frozen=True, slots=True)
class EncodedPlan:
    """The plan of the matrix."""

    element: EncodingPass
    plan: ElementPlan
    window: WindowRows
    number: int

    @property
    def nbytes(self) -> int:
        """Bytes that the window will hold."""
        return self.plan.nbytes

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[EncodedWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it."""
        window, jobs = self.plan.begin(pool, n_jobs=n_jobs)
        encoded = EncodedWindow(self, window, pool)
        return encoded, followed_by(jobs, encoded.is_read)


class EncodedWindow:
    """A window of the matrix; batches are asked for in turn."""

    def __init__(self, plan: EncodedPlan, window: ElementWindow, pool: BufferPool) -> None:
        self._plan, self._window, self._pool = plan, window, pool
        self._ahead: Encoding | None = None

    def is_read(self) -> None:
        """Begin the first batch, if the window before is used up."""
        self._plan.element.turn.is_read(self._plan.number, self.begin_first)

    def begin_first(self) -> None:
        """Begin to encode the first batch."""
        if len(self._plan.window.edges) > 1:
            self._ahead = self._begin(0)

    def batch(self, i: int) -> Any:
        """Return batch ``i`` as :class:`Encoded`, and begin to encode the next one."""
        ahead, self._ahead = self._ahead, None
        encoding = ahead if ahead is not None and ahead.number == i else self._begin(i)
        encoded = encoding.result()
        if i + 2 < len(self._plan.window.edges):
            self._ahead = self._begin(i + 1)
        else:
            self._plan.element.turn.is_used_up(self._plan.number)
        return encoded

    def _begin(self, i: int) -> Encoding:
        element, rows, edges = self._plan.element, self._plan.window.rows, self._plan.window.edges
        numbers = rows[edges[i] : edges[i + 1]]
        encoding = Encoding(element.of, i, self._window.batch(i), numbers, element.seed, self._pool)
        encoding.begin(element.submit)
        return encoding


class Turn:
    """Which window is next: its first batch is encoded once it is read and the one before is used up."""

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._next = 0
        self._read: dict[int, Callable[[], None]] = {}

    def is_read(self, number: int, begin: Callable[[], None]) -> None:
        """Note that a window has been read."""
        with self._lock:
            if number != self._next:
                self._read[number] = begin
                return
        begin()

    def is_used_up(self, number: int) -> None:
        """Note that the last batch of a window has been delivered."""
        with self._lock:
            self._next = number + 1
            begin = self._read.pop(number + 1, None)
            self._read.pop(number, None)
        if begin is not None:
            begin()


class Slice:
    """A job that encodes some rows of a batch, once; then it lets go of it, as a queue may keep jobs for long."""

    def __init__(self, encode: Callable[[int, int], None], start: int, stop: int) -> None:
        self._encode: Callable[[int, int], None] | None = encode
        self._rows = start, stop

    def __call__(self) -> int:
        """Encode the rows; no bytes are read for it."""
        encode, self._encode = self._encode, None
        assert encode is not None, "a slice is encoded once"
        encode(*self._rows)
        return 0


class Encoding:
    """The encoding of one batch, in slices of its rows."""

    def __init__(
        self,
        element: EncodedElement,
        number: int,
        matrix: CSR | np.ndarray,
        numbers: np.ndarray,
        seed: int,
        pool: BufferPool,
    ) -> None:
        from .._kernels.random_words import row_seeds

        self.number = number
        self._element, self._matrix, self._numbers = element, matrix, numbers
        self._seeds = row_seeds(np.uint64(seed), numbers)
        n_rows, width = len(numbers), int(element.encoder.widths[-1])
        self._flat = [
            lend(pool, n_rows * width, np.dtype(dtype)) for dtype in (element.ids_dtype, np.float32, np.bool_)
        ]
        self._ids, self._values, self._mask = (flat.reshape(n_rows, width) for flat in self._flat)
        self._length = lend(pool, n_rows, np.dtype(np.int32))
        self._slices: list[tuple[Slice, Future[None] | None]] = []

    def begin(self, submit: Callable[[Job], Future[None]]) -> None:
        """Queue the slices."""
        n_rows = len(self._numbers)
        cuts = np.linspace(0, n_rows, min(n_rows, _SLICES * usable_cores()) + 1).astype(int).tolist()
        for start, stop in itertools.pairwise(cuts):
            piece = Slice(self._encode, start, stop)
            try:
                self._slices.append((piece, submit(piece)))
            except RuntimeError:  # the loader was closed; what is open ends with its window
                self._slices.append((piece, None))

    def result(self) -> Encoded:
        """Return the batch, once all is encoded; the calling thread works on slices that no other has begun."""
        for piece, future in self._slices:
            if future is None or future.cancel():
                piece()
        for _, future in self._slices:
            if future is not None and not future.cancelled():
                future.result()
        ids, values, mask = self._narrowed()
        key = self._element.key if self._element.is_yielded else None
        return Encoded(key, self._matrix, {"ids": ids, "values": values, "mask": mask, "length": self._length})

    def _narrowed(self) -> tuple[np.ndarray, ...]:
        """Return the arrays in the width that holds their longest row."""
        from .._kernels.token_rows import narrow_rows

        n_rows, width = self._ids.shape
        longest = int(self._length.max(initial=0))
        chosen = next(int(one) for one in self._element.encoder.widths if one >= longest)
        if chosen == width:
            return self._ids, self._values, self._mask
        for flat in self._flat:
            narrow_rows(flat, n_rows, width, chosen)
        return tuple(flat[: n_rows * chosen].reshape(n_rows, chosen) for flat in self._flat)

    def _encode(self, start: int, stop: int) -> None:
        from .._kernels.token_rows import pad_tokens

        encoder, part = self._element.encoder, slice(start, stop)
        step = _DENSE_ROWS if isinstance(self._matrix, np.ndarray) else stop - start
        for first in range(start, stop, step):
            last = min(stop, first + step)
            out = Tokens(self._ids[first:last], self._values[first:last], self._length[first:last])
            self._element.encode(self._rows(first, last), out)
        ids, values, length = self._ids[part], self._values[part], self._length[part]
        wrong = pad_tokens(ids, values, self._mask[part], length, int(encoder.pad_id), float(encoder.pad_value))
        if wrong >= 0:
            raise ValueError(
                f"`encoder` {encoder!r} must write lengths in 0..{ids.shape[1]}, got {length[wrong]} for row "
                f"{self._numbers[start + wrong]}."
            )

    def _rows(self, start: int, stop: int) -> Rows:
        """Return rows in the form that encoders take."""
        from .._kernels.rows import CANONICAL, DAMAGED, canonical_rows, check_rows, rows_of_dense

        matrix, seeds, numbers = self._matrix, self._seeds[start:stop], self._numbers[start:stop]
        parts: tuple[np.ndarray, np.ndarray, np.ndarray]
        if isinstance(matrix, np.ndarray):
            parts = rows_of_dense(matrix[start:stop])
        else:
            begin, end = int(matrix.indptr[start]), int(matrix.indptr[stop])
            indptr = matrix.indptr[start : stop + 1].astype(np.int64) - begin
            parts = matrix.data[begin:end], matrix.indices[begin:end], indptr
            state = check_rows(*parts, self._element.width)
            if state == DAMAGED:
                key, most = self._element.key, self._element.width - 1
                raise CorruptDataError(f"Column numbers of `{key}` must lie in 0..{most}, got others: damaged.")
            if state != CANONICAL:
                parts = canonical_rows(*parts)
        data, indices, indptr = parts
        return Rows(data, indices, indptr, seeds, numbers)
