"""Groups are the combinations of values, in the order of categories."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annbatch.samplers import SetSampler
from annbatch.samplers._groups import Groups


@given(st.lists(st.tuples(st.sampled_from(["b", "a", None]), st.integers(0, 2), st.booleans()), max_size=30))
def test_rows_have_the_group_of_their_values(rows):
    frame = pd.DataFrame(rows, columns=["line", "dose", "on"]).astype({"dose": int, "on": bool})
    frame["line"] = pd.Categorical(frame["line"], categories=["b", "unused", "a"])
    groups = Groups.of(frame)
    order = [(["b", "a"].index(line), dose, on) for line, dose, on in groups.table.itertuples(index=False)]
    assert order == sorted(set(order))
    for code, row in zip(groups.codes, frame.itertuples(index=False), strict=True):
        if row[0] is None or row[0] is np.nan:
            assert code == -1
        else:
            assert tuple(groups.table.iloc[code]) == tuple(row)


@pytest.mark.parametrize(
    ("groups", "error", "text"),
    [
        (
            pd.DataFrame({"a": [0.5]}),
            TypeError,
            "Column 'a' of groups or matches must be categories, strings, integers or booleans",
        ),
        ([], ValueError, "`groups` must name at least one column of obs, got none"),
        (3, TypeError, "`groups` must be columns of obs or their names, got builtins.int"),
        (pd.Series([[1], [2]], name="a"), TypeError, "Column 'a' of groups or matches must have values that are hash"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "columns of different names, got \\['a', 'a'\\]"),
        (pd.Series([None, None], dtype=object), ValueError, "must have a group with rows in the mask, got none of 0"),
    ],
)
def test_what_makes_no_groups_is_refused(groups, error, text):
    with pytest.raises(error, match=text):
        SetSampler(groups, set_size=1)


def test_values_of_a_series_and_a_categorical():
    for groups in (pd.Series(["x", "y", "x"], name="drug"), pd.Categorical(["x", "y", "x"])):
        sampler = SetSampler(groups, set_size=1, sets_per_batch=1)
        assert sampler.groups.iloc[:, 0].tolist() == ["x", "y"]


def test_weights_by_label():
    groups = pd.DataFrame({"a": ["x", "y"], "b": [1, 2]})
    by_name = Groups.of(groups).weights({("x", 1): 2, ("y", 2): 1})
    assert by_name.tolist() == Groups.of(groups).weights([2, 1]).tolist() == [1, 0.5]
    with pytest.raises(ValueError, match=r"a weight for each of the 2 groups, got none for \[\('y', 2\)\]"):
        Groups.of(groups).weights({("x", 1): 2})
    with pytest.raises(ValueError, match=r"one weight per group \(2,\), got \(3,\)"):
        Groups.of(groups).weights([1, 2, 3])
    with pytest.raises(TypeError, match="`group_weights` must be numbers, got"):
        Groups.of(groups).weights({("x", 1): "much", ("y", 2): 1})
    with pytest.raises(ValueError, match="must be None, 'uniform' or weights, got 'unform'"):
        Groups.of(groups).weights("unform")
