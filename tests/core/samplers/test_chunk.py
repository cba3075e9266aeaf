"""Samplers: every row as often as it should come, whole batches, and an order that seed and epoch decide alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from annbatch.samplers import ChunkSampler, RandomSampler, SequentialSampler

from .conftest import batches, flat


@st.composite
def arguments(draw, *, random: bool):
    """Return a sampler, the rows that it may yield, and how many rows there are."""
    batch_size = draw(st.integers(1, 12))
    chunk_size = draw(st.integers(1, 15))
    preload = draw(st.integers(1, 6)) * batch_size // np.gcd(batch_size, chunk_size)
    n_obs = draw(st.integers(1, 150))
    mask = slice(0, None)
    if draw(st.booleans()):
        start = draw(st.integers(0, n_obs - 1))
        stop = draw(st.one_of(st.none(), st.integers(start + 1, n_obs)))
        mask = slice(draw(st.sampled_from([None, start])) if start == 0 else start, stop)
    drop_last = draw(st.booleans())
    rows = range(n_obs)[mask]
    if not random:
        return SequentialSampler(chunk_size, preload, batch_size, drop_last=drop_last, mask=mask), rows, n_obs
    seed = draw(st.integers(0, 2**32))
    sampler = RandomSampler(chunk_size, preload, batch_size, drop_last=drop_last, mask=mask, rng=seed)
    return sampler, rows, n_obs


def check_batches(sampler, found: list[list[int]], total: int) -> None:
    """Check numbers and sizes of batches of ``total`` rows in all."""
    size, drop_last = sampler.batch_size, sampler._drop_last
    sizes = [len(batch) for batch in found]
    assert sizes == [size] * (total // size) + ([total % size] if total % size and not drop_last else [])


@given(arguments(random=False))
def test_sequential_yields_every_row_once_and_in_order(drawn):
    sampler, rows, n_obs = drawn
    found = batches(sampler, n_obs)
    assert flat(found) == list(rows)[: len(flat(found))]
    check_batches(sampler, found, len(rows))
    assert sampler.n_batches(n_obs) == len(found)
    assert batches(sampler, n_obs, epoch=3) == found


@given(arguments(random=True), st.integers(0, 5))
def test_random_yields_every_row_once(drawn, epoch):
    sampler, rows, n_obs = drawn
    found = batches(sampler, n_obs, epoch)
    assert len(set(flat(found))) == len(flat(found))
    assert set(flat(found)) <= set(rows)
    check_batches(sampler, found, len(rows))
    assert sampler.n_batches(n_obs) == len(found)


@given(arguments(random=True), st.data())
def test_num_samples_without_replacement_are_different_rows(drawn, data):
    given_, rows, n_obs = drawn
    total = data.draw(st.integers(1, len(rows)))
    sampler = RandomSampler(
        given_._chunk_size,
        given_._preload_nchunks,
        given_.batch_size,
        num_samples=total,
        drop_last=given_._drop_last,
        mask=given_.mask,
        rng=1,
    )
    found = batches(sampler, n_obs)
    assert len(set(flat(found))) == len(flat(found))
    assert set(flat(found)) <= set(rows)
    check_batches(sampler, found, total)
    assert sampler.n_batches(n_obs) == len(found)


@given(arguments(random=True), st.one_of(st.none(), st.integers(1, 400)))
def test_replacement_draws_as_many_as_asked_from_within_the_mask(drawn, num_samples):
    given_, rows, n_obs = drawn
    assume(given_._chunk_size <= len(rows))
    sampler = RandomSampler(
        given_._chunk_size,
        given_._preload_nchunks,
        given_.batch_size,
        replacement=True,
        num_samples=num_samples,
        drop_last=given_._drop_last,
        mask=given_.mask,
        rng=1,
    )
    found = batches(sampler, n_obs)
    assert set(flat(found)) <= set(rows)
    check_batches(sampler, found, len(rows) if num_samples is None else num_samples)
    assert sampler.n_batches(n_obs) == len(found)


def test_replacement_repeats_rows_and_reaches_all_of_them():
    found = flat(batches(RandomSampler(2, 10, 5, replacement=True, num_samples=4000, rng=0), 50))
    counts = np.bincount(found, minlength=50)
    assert counts.max() > 1
    assert counts.min() > 0
    assert abs(counts[[0, -1]].mean() - 80) < 30  # the first and last row come as often as the others


@given(arguments(random=True))
def test_a_window_reads_no_more_than_its_chunks(drawn):
    sampler, _, n_obs = drawn
    for request in sampler.sample(n_obs):
        requests = request["requests"]
        assert len(requests) <= sampler._preload_nchunks
        if isinstance(requests, np.ndarray):
            assert sampler._chunk_size == 1
        else:
            assert all(0 < r.stop - r.start <= sampler._chunk_size for r in requests)


@given(arguments(random=True))
def test_one_seed_repeats(drawn):
    sampler, _, n_obs = drawn
    twin = RandomSampler(
        sampler._chunk_size,
        sampler._preload_nchunks,
        sampler.batch_size,
        drop_last=sampler._drop_last,
        mask=sampler.mask,
        rng=np.random.default_rng(0),
    )
    other = RandomSampler(
        sampler._chunk_size,
        sampler._preload_nchunks,
        sampler.batch_size,
        drop_last=sampler._drop_last,
        mask=sampler.mask,
        rng=0,
    )
    for epoch in (0, 7, 0, 1):
        assert batches(twin, n_obs, epoch) == batches(other, n_obs, epoch)


RANDOM = {
    "shuffled": lambda rng: RandomSampler(4, 8, 16, rng=rng),
    "single rows": lambda rng: RandomSampler(1, 32, 16, rng=rng),
    "replacement": lambda rng: RandomSampler(4, 8, 16, replacement=True, rng=rng),
    "some": lambda rng: RandomSampler(4, 8, 16, num_samples=100, rng=rng),
    "older programs": lambda rng: ChunkSampler(4, 8, 16, shuffle=True, rng=rng),
}


@pytest.mark.parametrize("make", RANDOM.values(), ids=RANDOM)
def test_seeds_and_epochs_differ(make):
    orders = [tuple(flat(batches(make(seed), 200, epoch))) for seed in (0, 1, 2) for epoch in (0, 1, 2)]
    orders += [tuple(flat(batches(make(None), 200))), tuple(flat(batches(make(None), 200)))]
    assert len(set(orders)) == len(orders)


@pytest.mark.parametrize("make", RANDOM.values(), ids=RANDOM)
def test_an_epoch_does_not_depend_on_what_was_sampled_before(make):
    used, fresh = make(5), make(5)
    for epoch in (0, 1, 1, 4):
        batches(used, 200, epoch)
    np.random.seed(0)  # noqa: NPY002  (the global generator has no part in it)
    assert batches(used, 200, 2) == batches(fresh, 200, 2)


def test_an_epoch_begun_stays_that_epoch():
    sampler, twin = RandomSampler(2, 4, 8, rng=3), RandomSampler(2, 4, 8, rng=3)
    requests = sampler.sample(100)
    first = next(requests)
    sampler.set_epoch(9)
    found = [first, *requests]
    expected = list(twin.sample(100))
    assert [r["requests"] for r in found] == [r["requests"] for r in expected]
    assert [[s.tolist() for s in r["splits"]] for r in found] == [[s.tolist() for s in r["splits"]] for r in expected]


def test_one_integer_is_drawn_from_a_generator():
    rng, twin = np.random.default_rng(0), np.random.default_rng(0)
    sampler = RandomSampler(2, 4, 8, rng=rng)
    list(sampler.sample(100))
    twin.integers(2**63)
    assert rng.bit_generator.state == twin.bit_generator.state
    assert sampler.rng is rng


def test_a_shuffle_mixes_chunks_and_rows():
    order = flat(batches(RandomSampler(10, 10, 100, rng=0), 1000))
    assert sorted(order) == list(range(1000))
    steps = np.diff(order)
    assert (np.abs(steps) == 1).mean() < 0.1  # neighbours are neighbours no longer
    windows = [sorted({row // 10 for row in order[a : a + 100]}) for a in range(0, 1000, 100)]
    assert all(len(chunks) == 10 for chunks in windows)  # a window is made of whole chunks,
    assert any(np.ptp(chunks) > 20 for chunks in windows)  # which come from everywhere


def test_drop_last_leaves_out_other_rows_each_epoch():
    sampler = RandomSampler(3, 4, 6, drop_last=True, rng=0)
    left_out = {row for epoch in range(60) for row in set(range(22)) - set(flat(batches(sampler, 22, epoch)))}
    assert len(left_out) > 15


def test_the_sampler_of_older_programs_is_either_of_the_two():
    ordered, shuffled = ChunkSampler(4, 8, 16, drop_last=True), ChunkSampler(4, 8, 16, shuffle=True, rng=7)
    assert batches(ordered, 100) == batches(SequentialSampler(4, 8, 16, drop_last=True), 100)
    assert batches(shuffled, 100) == batches(RandomSampler(4, 8, 16, rng=7), 100)
    assert (ordered.shuffle, shuffled.shuffle) == (False, True)


def test_properties_say_what_was_given():
    sampler = RandomSampler(4, 8, 16, mask=slice(3, 90))
    assert (sampler.batch_size, sampler.shuffle, sampler.mask) == (16, True, slice(3, 90))
    sampler.mask = slice(10, 20)
    assert sorted(flat(batches(sampler, 100))) == list(range(10, 20))
    assert SequentialSampler(4, 8, 16).mask == slice(0, None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SequentialSampler(0, 1, 1), "`chunk_size` must be positive, got 0"),
        (lambda: SequentialSampler(1, -2, 1), "`preload_nchunks` must be positive, got -2"),
        (lambda: RandomSampler(1, 1, 0), "`batch_size` must be positive, got 0"),
        (lambda: RandomSampler(3, 5, 4), r"must be divisible by batch_size.*got 3 \* 5 = 15 and batch_size 4"),
        (lambda: ChunkSampler(3, 5, 4), r"must be divisible by batch_size.*got 3 \* 5 = 15 and batch_size 4"),
        (lambda: RandomSampler(1, 1, 1, num_samples=0), "`num_samples` must be positive, got 0"),
        (lambda: RandomSampler(1, 1, 1, mask=slice(0, 10, 2)), r"`mask.step` must be 1, got 2"),
        (lambda: RandomSampler(1, 1, 1, mask=slice(-5, None)), "`mask.start` must be >= 0, got -5"),
        (lambda: RandomSampler(1, 1, 1, mask=slice(5, 5)), "`mask.start` must be < mask.stop, got 5 and 5"),
    ],
)
def test_arguments_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (RandomSampler(1, 1, 1, mask=slice(0, 30)), "`mask.stop` must be at most the loader's n_obs 20, got 30"),
        (RandomSampler(1, 1, 1, mask=slice(20, None)), "`mask.start` must be < the loader's n_obs 20, got 20"),
        (RandomSampler(1, 1, 1, num_samples=21), "`num_samples` must be at most the 20 rows .* got 21"),
        (
            RandomSampler(30, 1, 1, num_samples=50, replacement=True),
            "`chunk_size` must be at most the 20 rows .* num_samples 50 is more, got 30",
        ),
    ],
)
def test_too_few_rows_are_refused(sampler, message):
    with pytest.raises(ValueError, match=message):
        sampler.validate(20)
    with pytest.raises(ValueError, match=message):
        next(sampler.sample(20))


def test_a_subclass_may_make_its_own_requests():
    class Backwards(RandomSampler):
        def _sample(self, n_obs):
            yield from reversed(list(super()._sample(n_obs)))

    assert batches(Backwards(4, 4, 16, rng=0), 64) != batches(RandomSampler(4, 4, 16, rng=0), 64)
    assert sorted(flat(batches(Backwards(4, 4, 16, rng=0), 64))) == list(range(64))
