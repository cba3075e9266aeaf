"""How ranks share an epoch: which chunks each rank of a real sampler reads, in two epochs."""

from __future__ import annotations

import numpy as np

from annbatch import Loader
from annbatch.samplers import DistributedSampler, RandomSampler

from .canvas import COLOURS, WIDTH, Canvas

N_RANKS, N_CHUNKS, CHUNK = 3, 12, 4


def draw(*, small: bool = False) -> str:
    """Return the picture; it is always small."""
    canvas = Canvas(
        352,
        "The twelve chunks of a collection, coloured by the rank that reads them, in two epochs. In each, every rank "
        "reads four chunks, and no chunk is read twice; in the second, each rank reads other chunks.",
    )
    canvas.legend(8, 18, {COLOURS[rank]: f"rank {rank}" for rank in range(N_RANKS)}, 90)
    width = (WIDTH - 16) / N_CHUNKS
    for epoch in range(2):
        y = 50 + epoch * 156
        read = [_chunks_of(rank, epoch) for rank in range(N_RANKS)]
        rank_of = {chunk: rank for rank, chunks in enumerate(read) for chunk in chunks}
        canvas.text(8, y, f"Epoch {epoch}", "ink strong")
        canvas.text(WIDTH - 8, y, "chunks, as they are stored", "note", "end")
        for chunk in range(N_CHUNKS):
            _chunk(
                canvas,
                8 + chunk * width,
                y + 10,
                width - 4,
                chunk,
                rank_of[chunk],
            )
        canvas.arrow(22, y + 50, y + 78)
        canvas.text(
            40,
            y + 68,
            "one random order, the same on all ranks, cut in three",
            "ink",
        )
        order = [chunk for chunks in read for chunk in chunks]
        for place, chunk in enumerate(order):
            gap = 4 * (place // (N_CHUNKS // N_RANKS))
            _chunk(
                canvas,
                8 + place * (width - 0.75) + gap,
                y + 86,
                width - 4,
                chunk,
                rank_of[chunk],
            )
    return str(canvas)


def _chunks_of(rank: int, epoch: int) -> list[int]:
    """Return the chunks that a rank reads, in order."""
    sampler = RandomSampler(CHUNK, 1, CHUNK, rng=1)
    sampler = DistributedSampler(sampler, dist_info=lambda: (rank, N_RANKS))
    loader = Loader(batch_sampler=sampler, return_index=True).add_dataset(np.zeros((N_CHUNKS * CHUNK, 1), np.float32))
    loader.set_epoch(epoch)
    return [int(batch["index"][0]) // CHUNK for batch in loader]


def _chunk(canvas: Canvas, x: float, y: float, width: float, chunk: int, rank: int) -> None:
    canvas.box(x, y, width, 8, COLOURS[rank])
    canvas.frame(x, y, width, 32)
    canvas.text(x + width / 2, y + 25, str(chunk), "ink small", "middle")
