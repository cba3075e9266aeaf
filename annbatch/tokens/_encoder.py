"""The contract of encoders: from the columns and values of rows to ids and values of fixed width."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


class Rows(NamedTuple):
    """Some rows of the matrix that is encoded.

    Their columns ascend, each comes once, and no value is 0, whatever the form in which they are stored.
    """

    data: np.ndarray
    """``(nnz,)`` values, float64 where the data is float64, else float32. Not transformed."""

    indices: np.ndarray
    """``(nnz,)`` column numbers."""

    indptr: np.ndarray
    """``(n_rows + 1,)`` ints; row ``i`` is ``data[indptr[i]:indptr[i + 1]]``."""

    seeds: np.ndarray
    """``(n_rows,)`` uint64, a random number of each row, a function of the loader's seed, the epoch and the row."""

    numbers: np.ndarray
    """``(n_rows,)`` int64 numbers of the rows, as in the ``index`` of a batch."""


class Tokens(NamedTuple):
    """Tokens of some rows: memory of the batch, undefined until an encoder writes it."""

    ids: np.ndarray
    """``(n_rows, width)`` ids, int64 or int32."""

    values: np.ndarray
    """``(n_rows, width)`` float32."""

    length: np.ndarray
    """``(n_rows,)`` int32 number of tokens of each row. What lies behind them is padding, and need not be written."""


class EncodeRows(Protocol):
    """Function that writes the tokens of some rows; what :meth:`Encoder.bind` returns.

    Rows and tokens are memory of annbatch: it changes the tokens alone, and keeps neither after the call.
    """

    def __call__(self, rows: Rows, out: Tokens) -> None:
        """Write ids, values and lengths of all rows; called on several threads at once, for different rows."""


@runtime_checkable
class Encoder(Protocol):
    """Turns each row of a matrix into tokens: ids and values of fixed width.

    Batches then have ``batch["tokens"]``: a dict of ``ids``, ``values`` and ``mask`` (True for tokens, False for
    padding), ``(n_rows, width)``, and ``length``, ``(n_rows,)``, arrays of the framework. The encoder writes ids,
    values and lengths; annbatch adds padding and mask.

    **Threads.** Rows are encoded on annbatch's threads, many at once, so what :meth:`bind` returns has no state that a
    call changes. Tokens of a row depend on the row and its seed alone, and not on the rows that come with it. An
    encoder is pickled with its loader.

    Test an encoder with :class:`annbatch.testing.EncoderTests`.

    Examples
    --------
    The first genes of each row, whatever their values:

    >>> import numpy as np
    >>> from annbatch import Loader
    >>> class FirstGenes:
    ...     widths = (3,)
    ...     pad_id, pad_value = -1, 0.0
    ...
    ...     def bind(self, var):
    ...         return self.encode
    ...
    ...     def encode(self, rows, out):
    ...         for i in range(len(rows.seeds)):
    ...             row = slice(
    ...                 rows.indptr[i], min(rows.indptr[i + 1], rows.indptr[i] + 3)
    ...             )
    ...             out.length[i] = n = row.stop - row.start
    ...             out.ids[i, :n], out.values[i, :n] = (
    ...                 rows.indices[row],
    ...                 rows.data[row],
    ...             )
    >>> loader = Loader(
    ...     batch_size=2, chunk_size=2, preload_nchunks=1, encoder=FirstGenes()
    ... )
    >>> batch = next(
    ...     iter(
    ...         loader.add_dataset(
    ...             np.array([[0, 4, 9, 0], [1, 2, 3, 4]], dtype="float32")
    ...         )
    ...     )
    ... )
    >>> batch["tokens"]["ids"]
    array([[ 1,  2, -1],
           [ 0,  1,  2]])
    """

    pad_id: int
    """Id of padding."""

    pad_value: float
    """Value of padding."""

    @property
    def widths(self) -> Sequence[int]:
        """Widths that batches may have, ascending; a batch has the first that holds its longest row.

        One width gives all batches the same shape; a few, as in ``(512, 1024, 2048)``, save padding, and a framework
        that compiles for each shape compiles that often. Rows are written at the last, which bounds their length.
        """

    def bind(self, var: pd.DataFrame) -> EncodeRows:
        """Return the function that encodes rows of a matrix with these columns; called once per loader.

        Parameters
        ----------
        var
            Annotations of the columns, indexed by their names: those that batches have, as ``var_names`` and
            ``var_join`` choose. Numbers as text where the data has no names.

        Raises
        ------
        KeyError
            If a column of ``var`` that the encoder needs is missing.
        ValueError
            If the encoder does not know the columns.
        """


def check_encoder(encoder: Any) -> Encoder | None:
    """Return the argument of ``Loader(encoder=...)``, checked.

    Raises
    ------
    TypeError
        If it is no encoder, or the class of one, or one of its attributes is of a wrong kind.
    ValueError
        If its widths are none.
    """
    if encoder is None:
        return None
    if isinstance(encoder, type) or not isinstance(encoder, Encoder):
        raise TypeError(
            "`encoder` must be None or have what annbatch.tokens.Encoder lists (widths, pad_id, pad_value, bind), as "
            f"TopGenes(512) has, got {encoder!r}."
        )
    check_widths("encoder.widths", encoder.widths)
    if not is_whole(encoder.pad_id):
        raise TypeError(f"`encoder.pad_id` must be an integer, got {encoder.pad_id!r}.")
    if not isinstance(encoder.pad_value, int | float | np.number):
        raise TypeError(f"`encoder.pad_value` must be a number, got {encoder.pad_value!r}.")
    return encoder


def is_whole(value: Any) -> bool:
    """Return whether a value is an integer."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_widths(name: str, widths: Any) -> None:
    """Raise ``TypeError`` unless widths are integers in a list, ``ValueError`` unless they are positive and ascend."""
    if not isinstance(widths, Sequence | np.ndarray) or not all(map(is_whole, widths)):
        raise TypeError(f"`{name}` must be a list or tuple of integers, got {widths!r}.")
    if not len(widths) or not all(low < high for low, high in pairwise((0, *widths))):
        raise ValueError(f"`{name}` must be positive integers that ascend, got {tuple(widths)}.")


def widths_up_to(max_len: int, buckets: Sequence[int]) -> tuple[int, ...]:
    """Return the widths of an encoder: the buckets, and the largest length.

    >>> widths_up_to(2048, (512, 1024)), widths_up_to(512, ())
    ((512, 1024, 2048), (512,))
    """
    widths = tuple(buckets)
    return widths if widths and widths[-1] == max_len else (*widths, max_len)


def check_sizes(max_len: int, buckets: Sequence[int], *, name: str = "max_len", at_least: int = 1) -> None:
    """Raise ``ValueError`` unless there is room for ``at_least`` tokens, and buckets ascend up to that size."""
    if not is_whole(max_len) or max_len < at_least:
        raise ValueError(f"`{name}` must be an integer of at least {at_least}, got {max_len!r}.")
    if isinstance(buckets, tuple | list) and not buckets:
        return
    check_widths("buckets", buckets)
    if buckets[-1] > max_len:
        raise ValueError(f"`buckets` must not exceed `{name}` ({max_len}), got {tuple(buckets)}.")
