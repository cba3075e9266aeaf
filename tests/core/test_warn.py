"""Every warning of the package points at the line of the program that called it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from zarr.core.sync import sync

import annbatch
from annbatch import DatasetCollection, Loader
from annbatch._warn import _Ignored, ignore_warnings
from annbatch.collection._array_format import quiet_writing


@pytest.fixture
def paths(tmp_path):
    """Return three files; the second has more elements, and categories in another order."""
    written = []
    for number in range(3):
        obs = pd.DataFrame(index=[f"{number}_{i}" for i in range(4)])
        order = ["a", "b"] if number != 1 else ["b", "a"]
        obs["stage"] = pd.Categorical(["a", "b"] * 2, categories=order, ordered=True)
        adata = ad.AnnData(np.ones((4, 3), "f4") + number, obs=obs, var=pd.DataFrame(index=list("xyz")))
        if number == 1:
            adata.raw = adata.copy()
            adata.layers["more"] = adata.X
            adata.obs["extra"] = adata.obs["src_path"] = "word"
            adata.obsp["near"] = np.eye(4)
            adata = adata[:, ["z", "x"]].copy()
            adata.var_names = ["z", "new"]
        written.append(tmp_path / f"{number}.h5ad")
        adata.write_h5ad(written[-1])
    return written


def test_warnings_of_a_conversion_point_at_its_line(tmp_path, paths):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        first = DatasetCollection(tmp_path / "one.zarr")
        line = sys._getframe().f_lineno + 1
        first.add_adatas(paths[:2], progress=False, var_subset=["x", "z", "none"])
        second = DatasetCollection(tmp_path / "two.zarr").add_adatas(paths[:1], progress=False)
        second.add_adatas(paths[1:2], progress=False)

    assert {warning.filename for warning in told} == {__file__}
    assert {warning.lineno for warning in told} == {line, line + 2}
    texts = [str(warning.message) for warning in told]
    for text in (
        "Dropping obsp/near",
        "Dropping raw of 1 of 2 inputs",
        "Dropping 1 variables of `var_subset`",
        "Dropping 1 variables of the inputs",
        "Dropping what the collection does not have: ",
        "has ordered categories, but no single order",
        "Not in all inputs, so rows",
        "Column 'src_path' of `obs` is replaced",
    ):
        assert any(text in one for one in texts), text


def test_warnings_of_a_loader_point_at_its_line():
    with pytest.warns(DeprecationWarning, match="`to_torch` is deprecated") as told:
        Loader(to_torch=False)
    assert [warning.filename for warning in told] == [__file__]


@pytest.mark.parametrize("names", [{}, {"__name__": None}])
def test_warnings_are_shown_where_the_program_has_no_name(names):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        exec(compile("loader(to_torch=False)", "a cell", "exec"), {"loader": Loader} | names)
    assert [(one.filename, one.lineno) for one in told] == [("a cell", 1)]


def test_warnings_while_a_module_is_imported_point_at_the_import(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("# an adapter\nimport annbatch_cupy\n")
    (tmp_path / "annbatch_cupy.py").write_text("from annbatch._warn import warn\n\nwarn('Something is slow.')\n")
    environment = os.environ | {"PYTHONPATH": str(Path(annbatch.__file__).parents[1])}
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True, env=environment)

    assert done.stderr.splitlines()[0] == f"{program}:2: UserWarning: Something is slow."


def test_a_warning_is_shown_once_per_line_and_again_elsewhere(tmp_path):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(2):
            Loader(to_torch=False)
        Loader(to_torch=False)

    assert len(told) == 2


def test_no_module_warns_in_another_way():
    package = Path(annbatch.__file__).parent
    folders = [package, *(package.parent / "adapters").glob("annbatch_*")]
    found = [
        f"{path.name}:{node.lineno}"
        for folder in folders
        for path in folder.rglob("*.py")
        if path.name != "_warn.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "warn"
    ]

    assert found == []


def test_only_what_is_asked_for_is_ignored():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with ignore_warnings("one", "t(w|x)o"):
            for text in ("one", "one and more", "two", "not one", "three"):
                warnings.warn(text, stacklevel=1)
            with ignore_warnings("three"):
                warnings.warn("three inside", stacklevel=1)
            warnings.warn("three outside", stacklevel=1)
        warnings.warn("one again", stacklevel=1)
    assert [str(one.message) for one in told] == ["not one", "three", "three outside", "one again"]


def test_filters_that_come_later_give_way():
    with warnings.catch_warnings():
        for _ in range(3):
            warnings.simplefilter("error")
            with ignore_warnings(""):
                warnings.warn("nothing", stacklevel=1)
            with pytest.raises(UserWarning, match="something"):
                warnings.warn("something", stacklevel=1)
        assert sum(isinstance(one[1], _Ignored) for one in warnings.filters) == 1


def test_threads_that_overlap_leave_the_filters_as_they_were():
    def other():
        with ignore_warnings(""):
            entered.set()
            left.wait()
            warnings.warn("in the thread", stacklevel=1)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with ignore_warnings(""):
            before = list(warnings.filters)
            entered, left = threading.Event(), threading.Event()
            thread = threading.Thread(target=other)
            thread.start()
            entered.wait()
        warnings.warn("outside, while the thread is inside", stacklevel=1)
        left.set()
        thread.join()
        assert warnings.filters == before
        warnings.warn("afterwards", stacklevel=1)
    assert [str(one.message) for one in told] == ["outside, while the thread is inside", "afterwards"]


def test_contexts_may_end_in_any_order():
    first, second = ignore_warnings("a"), ignore_warnings("b")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        warnings.warn("a", stacklevel=1)
        warnings.warn("b", stacklevel=1)
        second.__exit__(None, None, None)
        warnings.warn("b again", stacklevel=1)
    assert [str(one.message) for one in told] == ["a", "b again"]


def test_coroutines_on_the_thread_of_zarr_are_asked_too():
    async def warn() -> None:
        warnings.warn("in a coroutine", stacklevel=1)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with ignore_warnings("in a"):
            sync(warn())
        assert not told
        sync(warn())
    assert len(told) == 1


def test_writers_that_overlap_restore_the_setting_of_anndata():
    before = ad.settings.allow_write_nullable_strings
    first, second = quiet_writing(), quiet_writing()
    with first:
        second.__enter__()
        assert ad.settings.allow_write_nullable_strings
    assert ad.settings.allow_write_nullable_strings
    second.__exit__(None, None, None)
    assert ad.settings.allow_write_nullable_strings == before


def test_no_module_replaces_the_filters_of_all_threads():
    package = Path(annbatch.__file__).parent
    folders = [package, *(package.parent / "adapters").glob("annbatch_*")]
    found = {path.name for folder in folders for path in folder.rglob("*.py") if "catch_warnings(" in path.read_text()}
    assert found == {"cli.py"}  # around the whole program
