"""Tests that every encoder must pass."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tokens import Encoder, Rows, Tokens

if TYPE_CHECKING:
    import pandas as pd

_MARK = -77  # in memory that an encoder must leave alone
_N_ROWS = 40


class EncoderTests:
    """The tests of an encoder; subclass it in a test file, name the encoder and its columns, and run pytest.

    Attributes
    ----------
    encoder
        The encoder under test.
    var
        Annotations of columns that it knows, as :meth:`annbatch.tokens.Encoder.bind` takes them: a few dozen.

    Examples
    --------
    In a test file:

    >>> import pandas as pd
    >>> from annbatch.testing import EncoderTests
    >>> from annbatch.tokens import TopGenes
    >>> class TestTopGenes(EncoderTests):
    ...     encoder = TopGenes(8)
    ...     var = pd.DataFrame(index=[f"gene{i}" for i in range(50)])
    >>> TestTopGenes().test_each_row_alone()
    """

    encoder: Encoder
    var: pd.DataFrame

    # What it is -------------------------------------------------------------------------------------------------------

    def test_contract(self) -> None:
        """It has what the contract lists, and its widths ascend."""
        encoder = self.encoder
        _check(isinstance(encoder, Encoder) and not isinstance(encoder, type), f"{encoder!r} is no encoder")
        widths = tuple(encoder.widths)
        _check(
            bool(widths) and list(widths) == sorted({*widths}) and widths[0] > 0, f"`widths` must ascend, got {widths}"
        )
        _check(int(encoder.pad_id) == encoder.pad_id, f"`pad_id` must be an integer, got {encoder.pad_id!r}")
        float(encoder.pad_value)

    def test_pickle(self) -> None:
        """It can go to another process, and makes the same tokens there."""
        copy, rows = pickle.loads(pickle.dumps(self.encoder)), self.rows(0)
        self._same(self._encode(rows, encoder=copy), self._encode(rows), "after pickling")

    # Tokens -----------------------------------------------------------------------------------------------------------

    def test_lengths(self) -> None:
        """Lengths are within the largest width, whether rows are empty, short or full."""
        for seed in range(5):
            _, _, length = self._encode(self.rows(seed))
            wrong = (length < 0) | (length > self.encoder.widths[-1])
            _check(not wrong.any(), f"lengths must lie in 0..{self.encoder.widths[-1]}, got {length[wrong]}")

    def test_no_rows(self) -> None:
        """A batch without rows is encoded, too."""
        self._encode(_some_rows(self.rows(0), np.arange(0)))

    def test_same_again(self) -> None:
        """The same rows with the same seeds become the same tokens."""
        rows = self.rows(1)
        self._same(self._encode(rows), self._encode(rows), "encoded again")

    def test_each_row_alone(self) -> None:
        """Tokens of a row do not depend on the rows that come with it, nor on its place among them."""
        rows = self.rows(2)
        together, order = self._encode(rows), np.random.default_rng(0).permutation(_N_ROWS)
        shuffled = self._encode(_some_rows(rows, order))
        for i, j in enumerate(order.tolist()):
            alone = self._encode(_some_rows(rows, np.array([j])))
            self._same(_one(alone, 0), _one(together, j), f"row {j} alone")
            self._same(_one(shuffled, i), _one(together, j), f"row {j} at place {i}")

    def test_dtypes(self) -> None:
        """Ids are written, the same as int32 and as int64, and tokens the same of float32 and float64 values."""
        rows = self.rows(3)
        expected = self._encode(rows)
        self._same(self._encode(rows, ids="int32"), expected, "int32")
        wide = rows._replace(data=rows.data.astype(np.float64))
        self._same(self._encode(wide), expected, "float64")

    def test_threads(self) -> None:
        """What `bind` returns may be called on several threads at once."""
        encode, cases = self.encoder.bind(self.var), [self.rows(seed) for seed in range(8)]
        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(lambda rows: self._encode(rows, encode=encode), cases * 4))
        for rows, result in zip(cases * 4, results, strict=True):
            self._same(result, self._encode(rows), "on threads")

    # Memory -----------------------------------------------------------------------------------------------------------

    def test_inputs_are_left_alone(self) -> None:
        """The rows are not changed: the user may get the same memory as X."""
        rows = self.rows(4)
        before = [array.copy() for array in rows]
        self._encode(rows)
        for name, array, old in zip(rows._fields, rows, before, strict=True):
            _check(np.array_equal(array, old), f"`{name}` was changed")

    def test_writes_where_it_should(self) -> None:
        """Nothing is written outside the rows' own memory, which belongs to other threads."""
        rows, width = self.rows(5), int(self.encoder.widths[-1])
        ids, values = np.full((_N_ROWS + 2, width), _MARK), np.full((_N_ROWS + 2, width), _MARK, np.float32)
        length = np.full(_N_ROWS + 2, _MARK, np.int32)
        self.encoder.bind(self.var)(rows, Tokens(ids[1:-1], values[1:-1], length[1:-1]))
        outside = np.concatenate([array[[0, -1]].ravel() for array in (ids, values, length)])
        _check(bool((outside == _MARK).all()), "memory of other rows was written to")

    # Loading ----------------------------------------------------------------------------------------------------------

    def rows(self, seed: int) -> Rows:
        """Return counts in the form in which encoders get rows: empty, short and full ones."""
        rng, width = np.random.default_rng(seed), len(self.var)
        dense = rng.poisson(rng.gamma(0.5, 3.0, (_N_ROWS, width)) * rng.random((_N_ROWS, 1))).astype(np.float32)
        dense[0], dense[1], dense[2] = 0, 1, rng.permutation(width) + 1
        row, column = np.nonzero(dense)
        indptr = np.searchsorted(row, np.arange(_N_ROWS + 1))
        seeds = rng.integers(2**64, size=_N_ROWS, dtype=np.uint64)
        return Rows(dense[row, column], column.astype(np.int32), indptr, seeds, np.arange(_N_ROWS))

    def _encode(
        self, rows: Rows, *, ids: str = "int64", encoder: Encoder | None = None, encode: Any = None
    ) -> tuple[np.ndarray, ...]:
        """Return the tokens of rows, with what lies behind their lengths zeroed."""
        n_rows, width = len(rows.seeds), int(self.encoder.widths[-1])
        out = Tokens(
            np.full((n_rows, width), _MARK - (ids == "int32"), ids),  # not the same in both, where it is left
            np.full((n_rows, width), np.nan, np.float32),
            np.full(n_rows, _MARK, np.int32),
        )
        (encode or (encoder or self.encoder).bind(self.var))(rows, out)
        behind = np.arange(width) >= out.length[:, None]
        out.ids[behind], out.values[behind] = 0, 0
        return tuple(out)

    @staticmethod
    def _same(actual: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...], what: str) -> None:
        for name, one, other in zip(Tokens._fields, actual, expected, strict=True):
            _check(np.array_equal(one, other), f"{what}: `{name}` must be {other}, got {one}")


def _some_rows(rows: Rows, chosen: np.ndarray) -> Rows:
    """Return some of the rows, in the given order."""
    parts = [np.arange(rows.indptr[i], rows.indptr[i + 1]) for i in chosen]
    elements = np.concatenate([np.empty(0, np.int64), *parts])
    indptr = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Rows(rows.data[elements], rows.indices[elements], indptr, rows.seeds[chosen], rows.numbers[chosen])


def _one(tokens: tuple[np.ndarray, ...], i: int) -> tuple[np.ndarray, ...]:
    return tuple(array[i] for array in tokens)


def _check(condition: bool, text: str) -> None:
    if not condition:
        raise AssertionError(text)
