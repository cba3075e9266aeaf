"""Names are made unique as by anndata, for any number of rows at a time."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annbatch.collection._schema import names as _names
from annbatch.collection._schema.names import append_suffixes, hash_names, suffixes

NAMES = st.lists(st.sampled_from(["a", "b", "a-1", "a-2", "a-1-1", "b-3", "c"]), min_size=1, max_size=30)


@pytest.mark.parametrize("at_once", [1, 4, 1 << 18])
@settings(deadline=None, max_examples=50)
@given(names=NAMES)
def test_names_equal_those_of_anndata(at_once: int, names: list[str]) -> None:
    values = np.array(names, dtype=object)
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # anndata warns of names that repeat
        cells = ad.AnnData(obs=pd.DataFrame(index=pd.Index(names)))
        cells.obs_names_make_unique()
        patch.setattr(_names, "AT_ONCE", at_once)
        numbers = suffixes(hash_names(values), lambda rows: [values[rows]])
    made = values if numbers is None else append_suffixes(values, numbers)
    assert made.tolist() == cells.obs_names.tolist()


@settings(deadline=None, max_examples=50)
@given(before=NAMES, names=NAMES)
def test_existing_names_stay(before: list[str], names: list[str]) -> None:
    before = sorted(set(before))
    values = np.array(names, dtype=object)
    numbers = suffixes(hash_names(np.array([*before, *names], dtype=object)), lambda rows: [values[rows]], len(before))
    made = values if numbers is None else append_suffixes(values, numbers)
    assert len({*before, *made}) == len(before) + len(names)
