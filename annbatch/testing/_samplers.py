"""Tests that every sampler must pass."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from .._plan.position import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..samplers._base import Sampler

Epoch = list[tuple[np.ndarray, list[np.ndarray]]]
"""For each request, the rows it names, and for each of its batches the positions in them."""


class SamplerTests:
    """The tests of a sampler; subclass it in a test file, say what it promises, and run pytest.

    Attributes
    ----------
    n_obs
        Numbers of rows that it samples from. Default: 1, 100 and 1,001.
    refused_n_obs
        Numbers of rows that ``validate`` must refuse. Default: none.
    every_row_once
        Whether every row that ``mask`` names is in exactly one batch of an epoch. Default True; False for a sampler
        that draws with replacement or leaves rows out.
    epochs_differ
        Whether two epochs come in different orders. Default False: nothing is promised.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch.samplers import RandomSampler
    >>> from annbatch.testing import SamplerTests
    >>> class TestRandomSampler(SamplerTests):
    ...     epochs_differ = True
    ...
    ...     def make_sampler(self):
    ...         return RandomSampler(4, 5, 10, rng=np.random.default_rng(0))
    >>> TestRandomSampler().test_every_row_once()
    """

    n_obs: Sequence[int] = (1, 100, 1_001)
    refused_n_obs: Sequence[int] = ()
    every_row_once: bool = True
    epochs_differ: bool = False

    def make_sampler(self) -> Sampler:
        """Return a new sampler, the same at every call: of one seed."""
        raise NotImplementedError(f"{type(self).__name__} must define `make_sampler`.")

    def test_validate(self) -> None:
        """It accepts the numbers of rows that it can sample from, and refuses the others with ``ValueError``."""
        for n_obs in self.n_obs:
            self.make_sampler().validate(n_obs)
        for n_obs in self.refused_n_obs:
            try:
                self.make_sampler().validate(n_obs)
            except ValueError:
                continue
            raise AssertionError(f"`validate({n_obs})` must raise ValueError")

    def test_rows_exist(self) -> None:
        """Requests name rows within ``mask``, and splits name positions in the requests."""
        for n_obs in self.n_obs:
            sampler = self.make_sampler()
            allowed = _allowed(sampler, n_obs)
            for rows, splits in _epoch(sampler, n_obs, 0):
                beyond = rows[~np.isin(rows, allowed)]
                _check(not len(beyond), n_obs, f"requests must name rows of `mask`, {sampler.mask}, got {beyond}")
                for split in splits:
                    _check(split.dtype.kind in "iu", n_obs, f"splits must be integers, got {split.dtype}")
                    inside = (split >= 0) & (split < len(rows))
                    _check(inside.all(), n_obs, f"splits must point into the {len(rows)} requested rows, got {split}")

    def test_batches(self) -> None:
        """There are as many batches as ``n_batches`` says, none empty, none above ``batch_size``."""
        for n_obs in self.n_obs:
            sampler = self.make_sampler()
            sizes = [len(split) for _, splits in _epoch(sampler, n_obs, 0) for split in splits]
            said = sampler.n_batches(n_obs)
            _check(len(sizes) == said, n_obs, f"`n_batches` must be the number of batches, {len(sizes)}, got {said}")
            most = sampler.batch_size if sampler.batch_size is not None else n_obs
            fitting = all(0 < size <= most for size in sizes)
            _check(fitting, n_obs, f"batches must have 1 to {most} rows, got {sorted(set(sizes))}")

    def test_every_row_once(self) -> None:
        """Every row is in exactly one batch of an epoch, where the sampler promises so."""
        if not self.every_row_once:
            return
        for n_obs in self.n_obs:
            sampler = self.make_sampler()
            allowed = _allowed(sampler, n_obs)
            for epoch in (0, 1):
                found = np.sort(_order(_epoch(sampler, n_obs, epoch)))
                _check(np.array_equal(found, allowed), n_obs, "every row must come exactly once")

    def test_an_epoch_repeats(self) -> None:
        """The order is a function of seed and epoch alone, whichever epoch came before."""
        for n_obs in self.n_obs:
            sampler = self.make_sampler()
            first = [_order(_epoch(sampler, n_obs, epoch)) for epoch in (0, 1)]
            again = [_order(_epoch(sampler, n_obs, epoch)) for epoch in (1, 0)][::-1]
            other = [_order(_epoch(self.make_sampler(), n_obs, epoch)) for epoch in (0, 1)]
            for epoch in (0, 1):
                _check(np.array_equal(first[epoch], again[epoch]), n_obs, f"epoch {epoch} must repeat")
                _check(np.array_equal(first[epoch], other[epoch]), n_obs, f"epoch {epoch} of one seed must be one")

    def test_an_abandoned_epoch_leaves_nothing(self) -> None:
        """An epoch that is left after its first request does not change the next one."""
        n_obs = max(self.n_obs)
        sampler = self.make_sampler()
        expected = _order(_epoch(self.make_sampler(), n_obs, 1))
        sampler.set_epoch(0)
        requests = sampler.sample(n_obs)
        next(requests, None)
        del requests
        _check(np.array_equal(_order(_epoch(sampler, n_obs, 1)), expected), n_obs, "epoch 1 must not depend on epoch 0")

    def test_a_pass_begins_at_any_batch(self) -> None:
        """From any batch on, what comes is what would have come: a new sampler, too, continues an epoch."""
        for n_obs in self.n_obs:
            whole = _batches(_epoch(self.make_sampler(), n_obs, 1))
            for steps in sorted({0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1, len(whole)}):
                rest = _batches(_epoch(self.make_sampler(), n_obs, 1, position=Position(1, steps=steps)))
                _check(_equal(rest, whole[steps:]), n_obs, f"what follows {steps} batches must be what would have come")

    def test_workers_share_a_pass(self) -> None:
        """Each of several workers yields a part of the batches, in order, and together they yield all."""
        for n_obs in self.n_obs:
            whole = _batches(_epoch(self.make_sampler(), n_obs, 0))
            for n in (1, 2, 3):
                shares = [_batches(_epoch(self.make_sampler(), n_obs, 0, worker=(i, n))) for i in range(n)]
                joined = [batch for share in shares for batch in share]
                _check(_equal(joined, whole), n_obs, f"{n} workers must yield what one yields")
                steps = len(shares[-1]) // 2
                where = {"position": Position(workers=n, steps=steps), "worker": (n - 1, n)}
                rest = _batches(_epoch(self.make_sampler(), n_obs, 0, **where))
                _check(_equal(rest, shares[-1][steps:]), n_obs, f"a worker must go on after {steps} batches")

    def test_identity(self) -> None:
        """The identity in a state is small, JSON-able, and the same for every sampler of one seed."""
        said = self.make_sampler().identity()
        _check(json.loads(json.dumps(said)) == said, max(self.n_obs), f"`identity` must be JSON-able, got {said}")
        _check(len(json.dumps(said)) < 4096, max(self.n_obs), "`identity` must be small")
        _check(self.make_sampler().identity() == said, max(self.n_obs), "`identity` must be that of the sampler's seed")

    def test_epochs_differ(self) -> None:
        """Two epochs come in different orders, where the sampler promises so."""
        if not self.epochs_differ:
            return
        n_obs, sampler = max(self.n_obs), self.make_sampler()
        one, two = (_order(_epoch(sampler, n_obs, epoch)) for epoch in (0, 1))
        _check(not np.array_equal(one, two), n_obs, "epochs 0 and 1 must differ")


def _epoch(sampler: Sampler, n_obs: int, epoch: int, **where: Any) -> Epoch:
    sampler.set_epoch(epoch)
    return [(_rows(request["requests"], n_obs), request["splits"]) for request in sampler.sample(n_obs, **where)]


def _allowed(sampler: Sampler, n_obs: int) -> np.ndarray:
    mask = sampler.mask
    return np.arange(n_obs)[mask] if isinstance(mask, slice) else np.asarray(mask)


def _rows(requests: list[slice] | np.ndarray, n_obs: int) -> np.ndarray:
    if isinstance(requests, np.ndarray):
        return requests
    ranges = [np.arange(request.start or 0, n_obs if request.stop is None else request.stop) for request in requests]
    return np.concatenate([np.empty(0, dtype=np.int64), *ranges])


def _order(epoch: Epoch) -> np.ndarray:
    """Return the rows in the order in which batches yield them."""
    return np.concatenate([np.empty(0, dtype=np.int64), *_batches(epoch)])


def _batches(epoch: Epoch) -> list[np.ndarray]:
    return [rows[split] for rows, splits in epoch for split in splits]


def _equal(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return len(found) == len(expected) and all(map(np.array_equal, found, expected))


def _check(right: object, n_obs: int, rule: str) -> None:
    """Raise ``AssertionError`` by hand: pytest rewrites no ``assert`` in installed packages, and ``-O`` drops them."""
    if not right:
        raise AssertionError(f"with {n_obs} rows, {rule}")
