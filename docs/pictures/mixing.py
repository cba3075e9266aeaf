"""What chunk size and window do to mixing: batches of a real loader, on sorted and on shuffled rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from annbatch import Loader, diversity

from .canvas import COLOURS, WIDTH, Canvas

N_ROWS, BATCH, N_SHOWN = 1_024, 16, 4
SETTINGS = {
    "Sorted rows": [(64, 1), (64, 4), (16, 16), (1, 256)],
    "Shuffled rows": [(64, 1), (64, 4)],
}


def draw(*, small: bool = False) -> str:
    """Return the picture; it is always small."""
    sorted_codes = np.arange(N_ROWS) * len(COLOURS) // N_ROWS
    codes = {
        "Sorted rows": sorted_codes,
        "Shuffled rows": np.random.default_rng(0).permutation(sorted_codes),
    }
    canvas = Canvas(
        446,
        "Batches from sorted rows have one colour if a window is one chunk, more with several chunks per window, and "
        "all colours with small chunks. Batches from shuffled rows have all colours with any setting.",
    )
    y = 20.0
    for title, settings in SETTINGS.items():
        canvas.text(8, y, title, "ink strong")
        canvas.text(
            WIDTH - 8,
            y,
            f"{N_SHOWN} batches of {BATCH} of each setting",
            "note",
            "end",
        )
        y += 12
        for chunk_size, n_chunks in settings:
            loader = Loader(
                batch_size=BATCH,
                chunk_size=chunk_size,
                preload_nchunks=n_chunks,
                shuffle=True,
                seed=2,
                return_index=True,
            ).add_dataset(
                np.zeros((N_ROWS, 1), np.float32),
                pd.DataFrame({"type": codes[title]}),
            )
            share = min(1.0, diversity(loader, "type").share_of_entropy)
            batches = [codes[title][batch["index"]] for batch in loader]
            for number, batch in enumerate(batches[:N_SHOWN]):
                canvas.cells(
                    8 + number * 107.5,
                    y,
                    6.4,
                    [COLOURS[code] for code in batch],
                    22,
                )
            text = f"chunk_size={chunk_size}, preload_nchunks={n_chunks}"
            canvas.text(8, y + 39, text, "note")
            canvas.text(WIDTH - 8, y + 39, f"{share:.0%} of full entropy", "ink", "end")
            y += 60
        y += 24
    return str(canvas)
