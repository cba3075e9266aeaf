from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from annbatch._arguments import as_names, drawn_seed, flag, whole


def test_a_seed_is_that_of_the_generator_it_makes() -> None:
    expected = int(np.random.default_rng(3).integers(2**63))
    assert (
        drawn_seed(np.random.default_rng(3))
        == drawn_seed(3)
        == drawn_seed(np.int64(3))
        == drawn_seed(None, 3)
        == expected
    )
    assert drawn_seed(None) is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.random.default_rng(0), 0), ValueError, "`seed` excludes rng, got both: seed=0"),
        ((-1,), ValueError, "`rng` must not be negative, got -1"),
        ((None, -1), ValueError, "`seed` must not be negative, got -1"),
        (("0",), TypeError, "`rng` must be a `numpy.random.Generator` or an integer, got"),
        ((True,), TypeError, "`rng` must be a `numpy.random.Generator` or an integer, got builtins.bool"),
        ((None, 1.5), TypeError, "`seed` must be an integer, got builtins.float"),
        ((None, np.random.default_rng(0)), TypeError, "`seed` must be an integer, got"),
    ],
)
def test_other_seeds_are_refused(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        drawn_seed(*arguments)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("a", ["a"]),
        (np.str_("a"), ["a"]),
        (("a", "b"), ["a", "b"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (pd.Index(["a", 1]), ["a", 1]),
        ((name for name in "ab"), ["a", "b"]),
        (np.array([1, 2]), [1, 2]),
    ],
)
def test_names_are_of_types_of_python(given: Any, names: list[Any]) -> None:
    found = as_names(given, "columns")
    assert found == names
    assert {type(name) for name in found} <= {str, int}


@pytest.mark.parametrize("given", [0, 1.5, b"ab", None, np.array(1), [None], [b"a"], [["a"]], object(), Path("a"), len])
def test_other_things_than_names_are_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="`columns` must be a name or a list of names, got"):
        as_names(given, "columns")


def test_a_flag_is_true_or_false_of_any_type() -> None:
    assert [flag(value, "shuffle") for value in (True, np.True_, 1, False, np.False_, 0)] == [True] * 3 + [False] * 3
    for value in ("False", None, 2, 1.0, [], np.array([True, False]), pd.DataFrame()):
        with pytest.raises(TypeError, match="`shuffle` must be True or False, got"):
            flag(value, "shuffle")


def test_an_integer_has_any_type_and_a_least_value() -> None:
    assert (whole(np.int64(3), "n"), whole(3, "n", least=3)) == (3, 3)
    with pytest.raises(TypeError, match=r"`n` must be an integer, got \[1\]"):
        whole([1], "n")
    with pytest.raises(ValueError, match="`n` must be at least 2, got 1"):
        whole(1, "n", least=2)
