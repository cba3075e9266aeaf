"""Rows in the order in which they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._chunk import ChunkSampler

if TYPE_CHECKING:
    from ._row_set import RowsLike


class SequentialSampler(ChunkSampler):
    """Reads every row once, in order: for evaluation and inference.

    Parameters
    ----------
    chunk_size
        Contiguous rows per chunk.
    preload_nchunks
        Chunks per window: those that are in memory together.
    batch_size
        Rows per batch; must divide ``chunk_size * preload_nchunks``.
    drop_last
        Whether a last batch of fewer than ``batch_size`` rows is left out.
    mask
        Rows to read: a slice, a boolean mask, row numbers, or a :class:`RowSet`; default, all.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from annbatch.samplers import SequentialSampler
    >>> [request["requests"] for request in SequentialSampler(4, 1, 4).sample(6)]
    [[slice(0, 4, None)], [slice(4, 6, None)]]
    """

    def __init__(
        self,
        chunk_size: int,
        preload_nchunks: int,
        batch_size: int,
        *,
        drop_last: bool = False,
        mask: RowsLike | None = None,
    ) -> None:
        super().__init__(chunk_size, preload_nchunks, batch_size, drop_last=drop_last, mask=mask)
