"""Plots: what they show, of names that matplotlib would take for formulas too."""

from __future__ import annotations

import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from annbatch import DatasetCollection, Loader, diversity, statistics, suggest
from annbatch.errors import MissingDependencyError

matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
matplotlib.use("agg")


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> DatasetCollection:
    folder = tmp_path_factory.mktemp("plots")
    kinds = pd.Categorical(["a $x^$", "b\x1b", "c"] * 20)
    rows = [f"r{row % 40}" for row in range(60)]
    obs = pd.DataFrame({"$kind": kinds, "row": rows}, index=[f"c{row}" for row in range(60)])
    ad.AnnData(np.random.default_rng(0).poisson(2, (60, 5)).astype("f4"), obs=obs).write_h5ad(folder / "cells.h5ad")
    return DatasetCollection(folder / "all.zarr").add_adatas([folder / "cells.h5ad"], progress=False)


@pytest.fixture(autouse=True)
def closed():
    yield
    matplotlib.pyplot.close("all")


def drawn(ax) -> tuple[list[str], list[float]]:
    """Return the names and lengths of bars, once all has been drawn."""
    ax.figure.canvas.draw()
    return [text.get_text() for text in ax.get_yticklabels()], [bar.get_width() for bar in ax.patches]


def test_the_composition_of_a_collection(collection):
    names, lengths = drawn(collection.plot("$kind"))
    assert sorted(names) == [r"a \$x^\$", r"b\x1b", "c"]
    assert lengths == [20, 20, 20]

    names, lengths = drawn(collection.plot("row"))
    assert (len(names), names[-1], lengths[-1]) == (31, "10 others", 10)
    with pytest.raises(KeyError, match="kinds"):
        collection.plot("kinds")


def test_how_diverse_batches_are(collection):
    loader = Loader(collection, batch_size=20, chunk_size=4, preload_nchunks=10, shuffle=True, seed=0)
    found = diversity(loader, "$kind")
    names, lengths = drawn(found.plot())
    assert names == [r"labels of \$kind", "source chunks"]
    assert lengths == pytest.approx([100 * found.share_of_entropy, 100 * found.share_of_source_chunks])
    assert drawn(suggest(collection, 20).plot())[0] == [r"\$kind", "row"]


def test_where_the_time_of_a_loader_went(collection):
    loader = Loader(collection, batch_size=20)
    list(loader)
    stats = loader.stats
    names, lengths = drawn(stats.plot())
    assert names == ["waiting for data", "all else"]
    assert sum(lengths) == pytest.approx(stats.seconds)


def test_variance_by_mean_on_given_axes(collection):
    _, ax = matplotlib.pyplot.subplots()
    assert statistics(collection).plot(ax) is ax
    ax.figure.canvas.draw()
    assert len(ax.collections[0].get_offsets()) == 5
    assert statistics(Loader().add_dataset(np.zeros((3, 2)))).plot().collections


def test_without_matplotlib_the_error_tells_the_command(monkeypatch):
    found = statistics(Loader().add_dataset(np.eye(3)))
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"^Plots need matplotlib: `pip install matplotlib`\.$"):
        found.plot()
