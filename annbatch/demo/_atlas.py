"""A small made-up cell atlas, as untidy as real ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, vstack

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

LINEAGES = {
    "B": "B",
    "CD4 T memory": "T",
    "CD4 T naive": "T",
    "CD8 T": "T",
    "Dendritic": "myeloid",
    "Endothelial": "stroma",
    "Epithelial": "stroma",
    "Fibroblast": "stroma",
    "Mast": "myeloid",
    "Monocyte": "myeloid",
    "NK": "T",
    "Plasma": "B",
}
CELL_TYPES = tuple(LINEAGES)
RARE = "Mast"  # one cell in 200
STUDIES = ("blood", "gut", "lung", "skin", "bone", "brain", "heart", "kidney", "liver", "spleen")
N_STUDIES = 4


def write_atlas(
    folder: str | os.PathLike[str],
    *,
    cells_per_study: int = 10_000,
    n_genes: int = 2_000,
    n_studies: int = N_STUDIES,
    seed: int = 0,
) -> list[Path]:
    """Write one h5ad file per study of a made-up cell atlas.

    Parameters
    ----------
    folder
        Where to write; it exists.
    cells_per_study
        Rows of each file.
    n_genes
        Genes of the whole atlas; each study measured nine in ten of them, each in a different order.
    n_studies
        Number of files, at most 10; fewer are the first of more.
    seed
        The same seed gives the same atlas.

    Returns
    -------
    list[pathlib.Path]
        The files: ``X`` holds counts as float32 CSR, ``obs["cell_type"]`` the label.

    Raises
    ------
    ValueError
        If there are not so many studies.

    Examples
    --------
    >>> from annbatch.demo import write_atlas
    >>> [
    ...     path.name
    ...     for path in write_atlas(".", cells_per_study=50, n_genes=100, n_studies=2)
    ... ]
    ['blood.h5ad', 'gut.h5ad']
    """
    if not 1 <= n_studies <= len(STUDIES):
        raise ValueError(f"`n_studies` must be from 1 to {len(STUDIES)}, got {n_studies}.")
    studies, paths = STUDIES[:n_studies], []
    for study, adata in zip(
        studies, _draw(studies, cells_per_study, n_genes, np.random.default_rng(seed)), strict=True
    ):
        paths.append(Path(folder) / f"{study}.h5ad")
        adata.write_h5ad(paths[-1])
    return paths


def _draw(
    studies: tuple[str, ...], cells_per_study: int, n_genes: int, rng: np.random.Generator
) -> Iterator[ad.AnnData]:
    names = np.array([f"GENE{gene:05d}" for gene in range(n_genes)])
    expression = _expression_programs(n_genes, rng)
    for study in studies:
        genes = rng.permutation(n_genes)[: n_genes * 9 // 10]
        types = _draw_types(cells_per_study, rng)
        batch_effect = rng.lognormal(0, 0.2, len(genes))
        counts = _draw_counts(expression[:, genes] * batch_effect, types, rng)
        present = np.unique(types)  # a study has only the categories that occur in it
        obs = pd.DataFrame(
            {
                "cell_type": pd.Categorical.from_codes(np.searchsorted(present, types), np.array(CELL_TYPES)[present]),
                "donor": pd.Categorical(rng.choice([f"{study}-{donor}" for donor in "abcd"], cells_per_study)),
                "n_counts": np.asarray(counts.sum(axis=1)).ravel().astype(np.int64),
            },
            index=[f"{study}-{cell}" for cell in range(cells_per_study)],
        )
        yield ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=names[genes]))


def _expression_programs(n_genes: int, rng: np.random.Generator) -> np.ndarray:
    """Return the mean share of each gene in each type: a common background, and markers of a lineage and a type."""
    shares = np.tile(rng.lognormal(0, 1.5, n_genes), (len(CELL_TYPES), 1))
    for lineage in sorted(set(LINEAGES.values())):
        members = [code for code, name in enumerate(CELL_TYPES) if LINEAGES[name] == lineage]
        _raise_markers(shares, members, n_genes // 50, rng)
    for code in range(len(CELL_TYPES)):
        _raise_markers(shares, [code], n_genes // 100, rng)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _raise_markers(shares: np.ndarray, types: list[int], n_markers: int, rng: np.random.Generator) -> None:
    markers = rng.choice(shares.shape[1], n_markers, replace=False)
    shares[np.array(types)[:, None], markers] *= rng.lognormal(1.35, 0.5, n_markers)


def _draw_types(n_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Return one code per cell; frequencies of types differ between studies, but the rare type is rare in all."""
    share = rng.dirichlet(np.ones(len(CELL_TYPES)))
    share[CELL_TYPES.index(RARE)] = 0
    share *= 0.995 / share.sum()
    share[CELL_TYPES.index(RARE)] = 0.005
    return np.asarray(rng.choice(len(CELL_TYPES), n_cells, p=share))


def _draw_counts(shares: np.ndarray, types: np.ndarray, rng: np.random.Generator) -> csr_matrix:
    """Return Poisson counts around each type's program, library sizes spread as in droplet data."""
    library = rng.lognormal(np.log(900), 0.5, len(types)) / shares.sum(axis=1)[types]
    blocks = []
    for start in range(0, len(types), 1024):  # a dense block at a time, so that the atlas never stands dense
        rows = slice(start, start + 1024)
        means = shares[types[rows]] * library[rows, None]
        blocks.append(csr_matrix(rng.poisson(means).astype(np.float32)))
    return csr_matrix(vstack(blocks, format="csr"))
