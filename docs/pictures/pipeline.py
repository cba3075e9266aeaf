"""From files to batches: what conversion and loading make of 96 rows, drawn from a real loader's first window."""

from __future__ import annotations

import numpy as np

from annbatch import Loader

from .canvas import COLOURS, WIDTH, Canvas

FILES = ("blood", "gut", "lung", "skin")
N_ROWS, CHUNK, N_CHUNKS, BATCH = 96, 8, 4, 8


def draw(*, small: bool = False) -> str:
    """Return the picture; it is always small."""
    order = np.random.default_rng(3).permutation(N_ROWS)  # row of the files at each place of the collection
    colours = [COLOURS[row * len(FILES) // N_ROWS] for row in order]
    loader = Loader(
        batch_size=BATCH,
        chunk_size=CHUNK,
        preload_nchunks=N_CHUNKS,
        shuffle=True,
        seed=0,
        return_index=True,
    )
    loader.add_dataset(np.zeros((N_ROWS, 1), np.float32))
    window = [batch["index"] for batch in loader][:N_CHUNKS]
    chosen = sorted({int(row) // CHUNK for batch in window for row in batch})

    canvas = Canvas(
        462,
        "Four files, one colour each, are shuffled once into shards of chunks, which mix all colours. An epoch reads a "
        "few random chunks at a time as a window, shuffles its rows, and cuts them into batches.",
    )
    left = 8
    canvas.text(left, 18, "Your files", "ink strong")
    canvas.text(WIDTH - 8, 18, "rows in the order of each study", "note", "end")
    width = N_ROWS // len(FILES) * 4.2
    for number, (name, colour) in enumerate(zip(FILES, COLOURS, strict=True)):
        x = left + number * (width + 7)
        canvas.cells(x, 30, 4.2, [colour] * (N_ROWS // len(FILES)), 18)
        canvas.text(x, 65, f"{name}.h5ad", "note small")

    canvas.arrow(left + 10, 80, 112)
    canvas.text(
        left + 28,
        101,
        "add_adatas: all rows into one random order, once",
        "ink",
    )
    canvas.text(left, 138, "Collection", "ink strong")
    canvas.text(WIDTH - 8, 138, "2 shards (files) of 6 chunks of 8 rows", "note", "end")
    for shard in range(2):
        y = 150 + 34 * shard
        canvas.frame(left, y, 424, 26)
        for place in range(6):
            chunk = shard * 6 + place
            first = chunk * CHUNK
            canvas.cells(
                left + 5 + place * 69.6,
                y + 6,
                8.2,
                colours[first : first + CHUNK],
                14,
            )
            if chunk in chosen:
                canvas.line(
                    [
                        (left + 5 + place * 69.6, y + 23),
                        (left + 4 + place * 69.6 + CHUNK * 8.2, y + 23),
                    ],
                    "ink",
                    2.5,
                )

    canvas.arrow(left + 10, 224, 256)
    canvas.text(
        left + 28,
        245,
        "every epoch: preload_nchunks random chunks at a time",
        "ink",
    )
    canvas.text(left, 282, "Window", "ink strong")
    canvas.text(
        WIDTH - 8,
        282,
        "the 4 underlined chunks, in memory, shuffled",
        "note",
        "end",
    )
    rows = [int(row) for batch in window for row in batch]
    canvas.cells(left, 292, 13.25, [colours[row] for row in rows], 18)

    canvas.arrow(left + 10, 322, 354)
    canvas.text(
        left + 28,
        343,
        "cut, without a copy, while the next window is read",
        "ink",
    )
    canvas.text(left, 380, "Batches", "ink strong")
    canvas.text(WIDTH - 8, 380, "batch_size rows each, to your model", "note", "end")
    for number, batch in enumerate(window):
        x = left + number * 108
        canvas.frame(x, 390, 100, 30)
        canvas.cells(x + 6, 396, 11.1, [colours[int(row)] for row in batch], 18)
        canvas.text(x + 50, 440, f"batch {number + 1}", "note small", "middle")
    return str(canvas)
