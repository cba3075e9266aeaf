"""What objects show of themselves, as text and as HTML; names of untrusted stores are shown, and do nothing."""

from __future__ import annotations

from html.parser import HTMLParser

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from annbatch import DatasetCollection, Loader, statistics
from annbatch._display import Section, Summary, listed_categories, shown

EVIL = "<img src=x onerror='alert(1)'>&\x1b[31m\u202e"


class Tags(HTMLParser):
    """Collects tags, and checks that they are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.seen, self.text = [], set(), ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)
        assert {name for name, _ in attrs} <= {"style", "open"}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def check_html(thing) -> str:
    """Return the text of the HTML that a notebook shows, after a look at its tags."""
    found = Tags(thing._repr_html_())
    assert found.seen <= {"div", "details", "summary", "table", "tr", "td"}
    assert found.text.isprintable()
    return found.text


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> DatasetCollection:
    folder = tmp_path_factory.mktemp("display")
    obs = pd.DataFrame(
        {"kind": pd.Categorical(["a", EVIL, "b"] * 4), "dose": np.arange(12.0)}, index=[f"c{row}" for row in range(12)]
    )
    counts = sp.csr_matrix(np.eye(12, 5, dtype="f4"))
    adata = ad.AnnData(counts, obs=obs, layers={EVIL.replace("/", "-"): counts}, obsm={"X_pca": np.zeros((12, 2))})
    adata.var_names = [EVIL, *"abcd"]
    adata.write_h5ad(folder / "cells & <b>.h5ad")
    return DatasetCollection(folder / "all.zarr").add_adatas([folder / "cells & <b>.h5ad"], progress=False)


def test_a_collection_shows_what_it_holds(collection):
    text = check_html(collection)

    for part in ("12 rows x 5 variables", "csr_matrix", "float32, stored as uint8", "shuffled", "float64"):
        assert part in text
    assert f"3 categories: {', '.join(sorted([shown(EVIL), 'a', 'b']))}" in text
    assert "cells & <b>.h5ad" in text
    assert text.splitlines()[0].startswith(repr(collection).splitlines()[0])


def test_no_column_is_read_to_show_a_collection(collection, monkeypatch):
    from annbatch._anndata import columns, frames

    def fail(*_):
        raise AssertionError("a column was read")

    for kind in (columns.PlainColumn, columns.CategoricalColumn, columns.TextColumn):
        monkeypatch.setattr(kind, "take", fail)
    monkeypatch.setattr(frames.StoredFrame, "read_names", fail)

    assert "cannot be read" not in check_html(collection)


def test_order_and_sources_of_collections(tmp_path, collection):
    path = tmp_path / "one.h5ad"
    ad.AnnData(np.eye(3)).write_h5ad(path)
    made = DatasetCollection(tmp_path / "c.zarr")
    assert check_html(made).endswith("empty")

    made.add_adatas([path], shuffle=False, progress=False)
    assert "not shuffled, or not all of it" in check_html(made)
    made.reshuffle(0, progress=False)
    assert "Order of rowsshuffled" in check_html(made)
    made.add_adatas([path], if_present="add", progress=False)
    assert "shuffled within each of 2 calls, not across them" in check_html(made)
    attached = DatasetCollection(tmp_path / "attached").attach([path])
    assert "not shuffled: attached stores" in check_html(attached)
    assert "1 h5ad file" in check_html(
        DatasetCollection(tmp_path / "h5ads", is_collection_h5ad=True).add_adatas([path], progress=False)
    )


def test_a_loader_shows_elements_columns_and_settings(collection):
    loader = Loader(collection, keys=["X", "obsm/X_pca", "obs"], batch_size=5, shuffle=True)
    assert "So far" not in check_html(loader)
    list(loader)

    text = check_html(loader)

    for part in ("obsm/X_pca", "12 x 2", "RandomSampler", "3 categories: ", "batches per epoch3", "12 in 3 batches"):
        assert part in text
    assert "no datasets" in check_html(Loader())


def test_counts_of_a_loader_are_readable(collection):
    loader = Loader(collection, batch_size=5)
    assert str(loader.stats) == "No batch was read yet"
    list(loader)

    text = str(loader.stats)

    assert "12 in 3 batches, " in text
    assert "per second" in text
    assert "waiting for data" in text
    assert 0 < loader.stats.wait_seconds <= loader.stats.seconds
    assert check_html(loader.stats)


def test_statistics_and_reports_are_shown(collection, tmp_path):
    assert "the first 5" in check_html(statistics(collection))
    report = collection.verify()
    assert "no problem found" in check_html(report)
    report.problems.append(EVIL)
    assert shown(EVIL) in check_html(report)


def test_names_are_printable_and_of_bounded_length():
    assert shown(EVIL) == r"<img src=x onerror='alert(1)'>&\x1b[31m\u202e"
    assert len(shown("x" * 10**6)) == 120
    assert listed_categories(["a", "b"], 2) == "2 categories: a, b"
    assert listed_categories([], 2000) == "2,000 categories"


def test_text_and_html_have_the_same_content():
    summary = Summary(
        "Title", [Section("One", [("a", "b"), ("ccc",)]), Section("None", []), Section("Many", [("x",)] * 120)]
    )

    text = str(summary)

    assert text.splitlines()[:4] == ["Title", "  One", "    a    b", "    ccc"]
    assert text.endswith("… 20 more")
    html = Tags(summary.html())
    assert html.text.count("x") == 100
    assert "None" not in text + html.text


def test_what_cannot_be_read_is_told_instead():
    def rows():
        yield ("a",)
        raise KeyError("damaged")

    assert "cannot be read: 'damaged'" in str(Summary("Title", [Section.of("Part", rows)]))
