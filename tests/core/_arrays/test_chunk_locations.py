"""What a cold disk is told to read ahead: the bytes that kernels will fetch, and few others."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import zarr

from annbatch import write_sharded
from annbatch._arrays.chunk_files import ChunkFiles
from annbatch._arrays.chunk_locations import ChunkLocations
from annbatch._arrays.read_plan import Reads
from annbatch._format.layout import chunk_layout

N_ROWS, PER_CHUNK = 512, 256


def test_parts_of_compressed_chunks_are_known_before_their_headers_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cells = sp.random(N_ROWS, 20_000, 0.05, format="csr", dtype="f4", rng=rng)
    cells.data[:] = rng.poisson(1, cells.nnz) + 1
    group = zarr.open_group(tmp_path / "c.zarr", mode="w", zarr_format=3)
    write_sharded(group, ad.AnnData(cells.astype("u2")), n_obs_per_chunk=PER_CHUNK, layout="compact")
    for name in ("data", "indices"):
        layout = chunk_layout(group[f"X/{name}"])
        assert layout is not None
        first = np.sort(rng.integers(0, 2 * layout.chunk - 1_000, 200))
        first = first[first // layout.chunk == (first + 1_000) // layout.chunk]
        reads = Reads(first // layout.chunk, first, first + 1_000, first)
        with ChunkLocations(layout, ChunkFiles(layout), reads).opened() as there:
            low, high = there._encoded_range(reads)
            raw = Path(str(layout.file(0))).read_bytes()
            needed = []
            for i in range(len(reads)):
                chunk = np.frombuffer(raw[there.offset[i] : there.offset[i] + there.nbytes[i]], dtype=np.uint8)
                block = int(chunk[8:12].view("<i4")[0])
                n_blocks = -(-int(chunk[4:8].view("<i4")[0]) // block)
                edges = np.append(chunk[16 : 16 + 4 * n_blocks].view("<i4"), len(chunk))
                begin = int(first[i] % layout.chunk) * layout.dtype.itemsize
                needed.append((edges[begin // block], edges[(begin + 1_000 * layout.dtype.itemsize - 1) // block + 1]))
        start, stop = np.array(needed).T
        assert ((low <= start) & (stop <= high)).mean() > 0.9
        assert (high - low).sum() < 2 * (stop - start).sum() < 0.1 * there.nbytes.sum()


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="nothing can be announced on this platform")
def test_long_ranges_are_announced_in_parts_that_disks_read_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = zarr.open_group(tmp_path / "c.zarr", mode="w", zarr_format=3)
    values = np.random.default_rng(0).integers(0, 255, (N_ROWS, 6_000)).astype("u1")
    write_sharded(group, ad.AnnData(values), n_obs_per_chunk=PER_CHUNK, layout="random_access")
    layout = chunk_layout(group["X"])
    assert layout is not None
    reads = Reads(
        np.array([0, 1]), np.array([0, layout.chunk]), np.array([layout.chunk, 2 * layout.chunk]), np.arange(2)
    )
    announced: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, start, n, advice: announced.append((start, n)))
    ChunkLocations(layout, ChunkFiles(layout), reads).announce(reads)
    ranges = [(start, n) for start, n in announced if n]  # the file was opened with an advice of no length
    assert max(n for _, n in ranges) <= 128 << 10
    assert sorted(i for start, n in ranges for i in range(start // 1_000, (start + n) // 1_000)) == list(
        range(2 * layout.chunk // 1_000)
    )
