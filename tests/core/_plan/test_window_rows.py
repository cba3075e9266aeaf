"""The rows of a window and the datasets that hold them, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annbatch._plan.window_rows import n_requested, plan_window, rows_by_dataset


@st.composite
def load_requests(draw, n_obs: int = 50):
    """Return a request over ``n_obs`` rows, with repeated rows, unused rows and empty batches among it."""
    if draw(st.booleans()):
        dtype = draw(st.sampled_from(["i4", "u2", "i8", "u8"]))
        requests = np.array(draw(st.lists(st.integers(0, n_obs - 1), max_size=40)), dtype=dtype)
        n_rows = len(requests)
    else:
        bounds = draw(st.lists(st.tuples(st.integers(0, n_obs), st.integers(0, n_obs)), max_size=8))
        requests = [slice(min(pair), max(pair)) for pair in bounds]
        n_rows = sum(r.stop - r.start for r in requests)
    positions = st.lists(st.integers(0, n_rows - 1), max_size=15) if n_rows else st.just([])
    splits = [np.array(s, dtype=np.int64) for s in draw(st.lists(positions, max_size=6))]
    return {"requests": requests, "splits": splits}


@given(load_requests())
def test_a_window_holds_what_the_splits_name_in_their_order(request_):
    window = plan_window(request_, 50)
    requests = request_["requests"]
    if isinstance(requests, np.ndarray):
        requested = requests
    else:
        requested = np.concatenate([[], *[np.arange(50)[r] for r in requests]])
    assert n_requested(requests) == len(requested)
    assert window.rows.dtype == np.int64
    assert window.n_batches == len(request_["splits"])
    for i, split in enumerate(request_["splits"]):
        np.testing.assert_array_equal(window.rows[window.edges[i] : window.edges[i + 1]], requested[split])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"requests": [slice(0, 4, 2)], "splits": []}, r"`requests` must be slices with step 1, got slice\(0, 4, 2\)"),
        (
            {"requests": [slice(3, 11)], "splits": []},
            r"`requests` must lie within .* 0\.\.10 rows, got 3\.\.10",
        ),
        ({"requests": np.array([0, -1]), "splits": []}, r"0\.\.10 rows, got -1\.\.0"),
        ({"requests": np.array([0.5]), "splits": []}, "`requests` must be integers or slices, got dtype float64"),
        (
            {"requests": [slice(0, 4)], "splits": [np.array([0, 4])]},
            r"`splits` must be positions within the 4 requested rows, got 0\.\.4",
        ),
        ({"requests": [slice(0, 4)], "splits": [np.array([-1])]}, r"within the 4 requested rows, got -1\.\.-1"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(request_, message):
    with pytest.raises(ValueError, match=message):
        plan_window(request_, 10)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.data())
def test_every_row_goes_to_the_dataset_that_holds_it_and_keeps_its_place(sizes, data):
    starts = np.concatenate([[0], np.cumsum(sizes)])
    row = st.integers(0, max(0, int(starts[-1]) - 1))
    rows = np.array(data.draw(st.lists(row, max_size=30 if starts[-1] else 0)), dtype=np.int64)
    shares = rows_by_dataset(rows, starts)
    assert [share.dataset for share in shares] == sorted({share.dataset for share in shares})
    back = np.full(len(rows), -1)
    for share in shares:
        assert len(share.rows) == len(share.positions) > 0
        assert (np.diff(share.rows) >= 0).all()
        assert share.rows.min() >= 0
        assert share.rows.max() < sizes[share.dataset]
        back[share.positions] = share.rows + starts[share.dataset]
    np.testing.assert_array_equal(back, rows)
