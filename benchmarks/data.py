"""Synthetic data: h5ad files shaped like a large atlas, and dense arrays of three kinds."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anndata as ad
import numba as nb
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

DRAWN_FROM = 1 << 22
"""Entries of the table from which molecules draw their gene; a gene of share p has that share of them."""

CELLS_AT_ONCE = 5_000


def write_cells(folder: Path, *, n_files: int, n_cells: int, n_genes: int) -> list[Path]:
    """Write h5ad files of counts as float32 CSR: with 62,710 genes, about 1,600 non-zeros per cell.

    Parameters
    ----------
    folder
        Existing folder to write to.
    n_files, n_cells, n_genes
        Number of files, of cells in all files together, and of genes.

    Returns
    -------
    list[Path]
        The files; equal for equal arguments.
    """
    rng = np.random.default_rng(0)
    share = rng.lognormal(0, 2.3, n_genes)
    entries = np.floor(np.cumsum(share / share.sum()) * DRAWN_FROM).astype(np.int64)
    gene_of = np.searchsorted(entries, np.arange(DRAWN_FROM), side="right").clip(max=n_genes - 1).astype(np.int32)
    var = pd.DataFrame(index=[f"GENE{gene:06d}" for gene in range(n_genes)])
    per_cell = 2_400 * n_genes / 62_710 if n_genes < 62_710 else 2_400
    paths = []
    for file, cells in enumerate(np.array_split(np.arange(n_cells), n_files)):
        counts = _draw_counts(len(cells), per_cell, gene_of, n_genes, seed=file)
        obs = pd.DataFrame(
            {
                "cell_line": _categories(rng.integers(0, 50, len(cells)), "line"),
                "drug": _categories(np.sort(rng.integers(0, 380, len(cells))), "drug"),
                "n_counts": np.asarray(counts.sum(axis=1)).ravel(),
                "score": rng.normal(size=len(cells)).astype(np.float32),
            },
            index=[f"cell{cell}" for cell in cells],
        )
        paths.append(folder / f"cells{file}.h5ad")
        ad.AnnData(counts, obs=obs, var=var).write_h5ad(paths[-1])
    return paths


def _categories(codes: np.ndarray, name: str) -> pd.Categorical:
    return pd.Categorical.from_codes(codes, [f"{name}{code}" for code in range(codes.max() + 1)])


def _draw_counts(n_cells: int, per_cell: float, gene_of: np.ndarray, n_genes: int, seed: int) -> csr_matrix:
    def draw(block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng([seed, block])
        size = min(CELLS_AT_ONCE, n_cells - block * CELLS_AT_ONCE)
        molecules = np.clip(rng.lognormal(np.log(per_cell), 0.5, size), per_cell / 8, per_cell * 5).astype(np.int64)
        edges = np.concatenate([[0], np.cumsum(molecules)])
        return count_genes(rng.integers(0, DRAWN_FROM, edges[-1], dtype=np.uint32), edges, gene_of)

    with ThreadPoolExecutor() as pool:
        blocks = list(pool.map(draw, range(-(-n_cells // CELLS_AT_ONCE))))
    data, indices = (np.concatenate([block[i] for block in blocks]) for i in (0, 1))
    indptr = np.concatenate([[0], np.cumsum(np.concatenate([block[2] for block in blocks]))])
    return csr_matrix((data, indices, indptr), shape=(n_cells, n_genes))


@nb.njit(nogil=True, cache=True)
def count_genes(draws, edges, gene_of):
    """Count how often each cell drew each gene; return CSR's data and indices, and the genes of each cell."""
    data, indices = np.empty(draws.size, np.float32), np.empty(draws.size, np.int32)
    n_genes_of = np.empty(edges.size - 1, np.int64)
    n = 0
    for i in range(edges.size - 1):
        begin, last = n, -1
        for gene in np.sort(gene_of[draws[edges[i] : edges[i + 1]]]):
            if gene == last:
                data[n - 1] += 1
            else:
                data[n], indices[n], last = 1, gene, gene
                n += 1
        n_genes_of[i] = n - begin
    return data[:n], indices[:n], n_genes_of


DENSE_ROWS = {"images": 8_192, "genotypes": 4_096, "embeddings": 131_072}
DENSE_WINDOWS = {"images": 2_048, "genotypes": 1_024, "embeddings": 16_384}
"""Rows per window: 84, 102 and 34 MB."""


def dense_blocks(kind: str, n_rows: int) -> Iterator[np.ndarray]:
    """Yield images (5 x 64 x 64 uint16), genotypes (100,000 int8) or embeddings (512 float32), 256 rows at a time."""
    rng = np.random.default_rng(0)
    frequency = rng.beta(0.5, 2, 100_000).astype(np.float32)
    y, x = np.mgrid[:64, :64]
    for start in range(0, n_rows, 256):
        n = min(256, n_rows - start)
        if kind == "images":  # one bright cell on a dim ground, with the noise of a camera
            centre, size = rng.uniform(20, 44, (2, n, 5, 1, 1)), rng.uniform(4, 12, (n, 5, 1, 1))
            light = 120 + 3_000 * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * size**2))
            noise = rng.standard_normal(light.shape, dtype=np.float32)
            yield (light + np.sqrt(light) * noise).clip(0, 65_535).astype(np.uint16)
        elif kind == "genotypes":
            draws = rng.random((2, n, 100_000), dtype=np.float32) < frequency
            yield draws.sum(axis=0, dtype=np.int8)
        else:
            yield rng.standard_normal((n, 512), dtype=np.float32)
