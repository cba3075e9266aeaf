"""A small made-up perturbation screen, whose effects are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from ._atlas import _draw_counts

if TYPE_CHECKING:
    import os

LINES = ("A549", "K562", "MCF7")
CONTROL = "DMSO"


def write_screen(
    folder: str | os.PathLike[str],
    *,
    cells_per_line: int = 3_000,
    n_genes: int = 200,
    n_drugs: int = 5,
    seed: int = 0,
) -> tuple[list[Path], pd.DataFrame]:
    """Write one h5ad file per cell line of a made-up drug screen, and return the effect of each drug.

    Parameters
    ----------
    folder
        Where to write; it exists.
    cells_per_line
        Rows of each file; a quarter are controls.
    n_genes
        Genes.
    n_drugs
        Drugs beside the control ``"DMSO"``, each of which changes one gene in five.
    seed
        The same seed gives the same screen.

    Returns
    -------
    files : list[pathlib.Path]
        The files: ``X`` holds counts as float32 CSR; ``obs`` has ``"line"``, ``"drug"`` and ``"plate"``, which shifts
        all of its cells.
    effects : pandas.DataFrame
        ``(n_drugs + 1, n_genes)`` natural logarithm of the factor by which a drug changes the expression of a gene, the
        same in all lines; zeros for the control.

    Raises
    ------
    ValueError
        If there are fewer than 4 cells per line, 5 genes or 1 drug.

    Examples
    --------
    >>> from annbatch.demo import write_screen
    >>> files, effects = write_screen(".", cells_per_line=100, n_genes=50, n_drugs=2)
    >>> [path.name for path in files], list(effects.index)
    (['A549.h5ad', 'K562.h5ad', 'MCF7.h5ad'], ['DMSO', 'drug 1', 'drug 2'])
    """
    for name, value, least in (("cells_per_line", cells_per_line, 4), ("n_genes", n_genes, 5), ("n_drugs", n_drugs, 1)):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    rng = np.random.default_rng(seed)
    drugs = [CONTROL, *(f"drug {number}" for number in range(1, n_drugs + 1))]
    genes = pd.Index([f"GENE{gene:05d}" for gene in range(n_genes)])
    effects = np.zeros((len(drugs), n_genes))
    for effect in effects[1:]:
        effect[rng.choice(n_genes, n_genes // 5, replace=False)] = rng.normal(0, 1, n_genes // 5)
    background = rng.lognormal(0, 1, n_genes)
    paths = []
    for line in LINES:
        share = background * rng.lognormal(0, 0.7, n_genes)
        drug = np.where(rng.random(cells_per_line) < 0.25, 0, rng.integers(1, len(drugs), cells_per_line))
        plate = rng.integers(0, 2, cells_per_line)
        shift = rng.normal(0, 0.2, (2, n_genes))
        programs = share * np.exp(effects[:, None] + shift)  # drugs x plates x genes
        programs = programs.reshape(-1, n_genes) / share.sum()
        counts = _draw_counts(programs, drug * 2 + plate, rng)
        obs = pd.DataFrame(
            {
                "line": pd.Categorical([line] * cells_per_line),
                "drug": pd.Categorical(np.array(drugs)[drug], categories=drugs),
                "plate": pd.Categorical([f"{line}-{number + 1}" for number in plate]),
            },
            index=[f"{line}-{cell}" for cell in range(cells_per_line)],
        )
        paths.append(Path(folder) / f"{line}.h5ad")
        ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes)).write_h5ad(paths[-1])
    return paths, pd.DataFrame(effects, index=pd.Index(drugs, name="drug"), columns=genes)
