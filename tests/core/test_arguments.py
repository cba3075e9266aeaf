from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from annbatch._arguments import drawn_seed


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
