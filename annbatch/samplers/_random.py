"""Shuffled chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._chunk import ChunkSampler, check_num_samples

if TYPE_CHECKING:
    import numpy as np


class RandomSampler(ChunkSampler):
    """Reads chunks in random order and shuffles the rows of those that are in memory together.

    Without replacement every row comes exactly once an epoch. Numbers come from NumPy alone: ``torch.manual_seed`` has
    no effect.

    Parameters
    ----------
    chunk_size
        Contiguous rows that are read at once; 1 is a shuffle of single rows.
    preload_nchunks
        Chunks that are in memory together, and so shuffled among each other: a window.
    batch_size
        Rows per batch; must divide ``chunk_size * preload_nchunks``.
    replacement
        Whether chunks are drawn independently of each other, so that rows may repeat.
    num_samples
        Rows per epoch; default, as many as there are.
    drop_last
        Whether a last batch of fewer than ``batch_size`` rows is left out.
    mask
        The range of rows to sample from; default, all.
    rng
        One integer is drawn from it, and is the seed from then on.

    Raises
    ------
    ValueError
        If an argument is out of range, with its name, the rule and the value.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch.samplers import RandomSampler
    >>> sampler = RandomSampler(4, 2, 8, rng=np.random.default_rng(0))
    >>> sampler.n_batches(20)
    3
    >>> [len(batch) for request in sampler.sample(20) for batch in request["splits"]]
    [8, 8, 4]
    """

    def __init__(
        self,
        chunk_size: int,
        preload_nchunks: int,
        batch_size: int,
        *,
        replacement: bool = False,
        num_samples: int | None = None,
        drop_last: bool = False,
        mask: slice | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__(chunk_size, preload_nchunks, batch_size, shuffle=True, drop_last=drop_last, mask=mask, rng=rng)
        self._replacement = replacement
        self._num_samples = check_num_samples(num_samples)
