"""Functions differ if they do different things, so that a killed call resumes only with the same function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anndata as ad
import pytest
import zarr

from annbatch.collection._runs.call_identity import describe_function, fingerprint

from ..conftest import make_counts

Write = Callable[..., str]


def twice(path: object, by: object = 2) -> object:
    return path, by


def outer(by: object) -> Callable[[object], object]:
    return lambda path: (path, by)


def with_default(by: object) -> Callable[[object], object]:
    return lambda path, by=by: (path, by)


@pytest.mark.parametrize("make", [outer, with_default, lambda by: partial(twice, by=by)])
def test_functions_with_other_outside_values_differ(make: Callable[[object], Callable[[object], object]]) -> None:
    assert describe_function(make(1)) == describe_function(make(1))
    assert len({describe_function(make(by)) for by in (1, 2, 1.0, "1", [1], (1,), None, Path("a"), len)}) == 9
    assert describe_function(make(object())) != describe_function(make(object()))


def test_functions_with_other_code_differ() -> None:
    one, two = (lambda path: ad.read_h5ad(path)), (lambda path: ad.read_zarr(path))
    assert describe_function(one) == describe_function(one)
    assert describe_function(one) != describe_function(two)
    helped: dict[str, object] = {}
    seen = set()
    for number in (1, 2):
        exec(f"def helper(path): return path, {number}\ndef load(path): return helper(path)", helped)
        seen.add(describe_function(helped["load"]))
    assert len(seen) == 2


def test_globals_that_are_named_as_attributes_do_not_matter() -> None:
    seen = set()
    for table in (object(), object()):
        module: dict[str, object] = {"obs": table, "cells": 1}
        exec("def load(path): return [path.obs for path in [path]]", module)
        seen.add(describe_function(module["load"]))
        exec("def load(path): return obs", module)
        seen.add(describe_function(module["load"]))
    assert len(seen) == 3


def test_the_fingerprint_of_an_open_group_changes_with_it(tmp_path: Path, write: Write) -> None:
    group = zarr.open_group(write(make_counts(0, 5), "0.zarr"), mode="r")
    before = fingerprint(group)
    assert fingerprint(group) == before
    write(make_counts(1, 5), "0.zarr")
    assert fingerprint(group) != before
    held = zarr.group(zarr.storage.MemoryStore(), zarr_format=3)
    before = fingerprint(held)
    held.create_array("x", shape=(3,), dtype="i4")
    assert fingerprint(held) != before
