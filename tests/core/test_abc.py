"""The contracts: what the core does for samplers and adapters that implement them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from annbatch import Loader
from annbatch.abc import Adapter, Sampler
from annbatch.batch import CSR
from annbatch.samplers import DistributedSampler

pytestmark = pytest.mark.filterwarnings(
    "ignore:A batch of . rows instead of 4 is yielded"
)  # by samplers that do not tell


class Simple(Sampler):
    """The least that a sampler can be: windows of 10 rows, no splits."""

    batch_size = 4
    shuffle = False

    def n_batches(self, n_obs):
        full, rest = divmod(n_obs, 10)
        return 3 * full + -(-rest // 4)

    def validate(self, n_obs):
        if n_obs < 3:
            raise ValueError(f"`n_obs` must be at least 3, got {n_obs}.")

    def _sample(self, n_obs):
        for start in range(0, n_obs, 10):
            yield {"requests": [slice(start, min(n_obs, start + 10))]}


class Shuffled(Simple):
    shuffle = True


def orders(sampler: Sampler, n_obs: int = 50) -> list[list[int]]:
    return [split.tolist() for request in sampler.sample(n_obs) for split in request["splits"]]


def test_splits_are_filled_in():
    assert [len(split) for split in orders(Simple(), 25)] == [4, 4, 2, 4, 4, 2, 4, 1]
    assert orders(Simple(), 7) == [[0, 1, 2, 3], [4, 5, 6]]


def test_splits_that_are_given_stay():
    class Given(Simple):
        batch_size = None
        shuffle = None

        def _sample(self, n_obs):
            yield {"requests": np.arange(6), "splits": [np.array([5, 1]), np.array([1])]}

    assert orders(Given()) == [[5, 1], [1]]


def test_a_shuffle_repeats_for_an_epoch_and_differs_between_epochs_and_windows():
    sampler = Shuffled()
    first = orders(sampler)
    assert orders(sampler) == first
    windows = [[row for split in first[i : i + 3] for row in split] for i in range(0, 15, 3)]
    assert all(sorted(window) == list(range(10)) for window in windows)
    assert len({tuple(window) for window in windows}) == 5
    sampler.set_epoch(1)
    assert orders(sampler) != first
    sampler.set_epoch(0)
    assert orders(sampler) == first


def test_an_epoch_begun_stays_that_epoch():
    sampler = Shuffled()
    expected = orders(sampler)
    requests = sampler.sample(50)
    found = [split.tolist() for split in next(requests)["splits"]]
    sampler.set_epoch(4)
    found += [split.tolist() for request in requests for split in request["splits"]]
    assert found == expected


def test_a_shuffle_is_seeded_by_the_samplers_generator():
    def seeded(seed: int) -> Shuffled:
        sampler = Shuffled()
        sampler.rng = np.random.default_rng(seed)
        return sampler

    assert orders(seeded(0)) == orders(seeded(0)) != orders(seeded(1))
    assert orders(Shuffled()) != orders(Shuffled())


@pytest.mark.parametrize("name", ["batch_size", "shuffle"])
def test_what_splits_need_must_be_set(name):
    class Lacking(Simple):
        pass

    setattr(Lacking, name, None)
    with pytest.raises(ValueError, match=f"`{name}` of Lacking must be set where a request has no splits, got None"):
        orders(Lacking())


def test_rows_are_validated_first():
    with pytest.raises(ValueError, match="`n_obs` must be at least 3, got 2"):
        next(Simple().sample(2))


def test_an_abandoned_epoch_reaches_the_samplers_finally():
    ended = []

    class Watched(Simple):
        def _sample(self, n_obs):
            try:
                yield from super()._sample(n_obs)
            finally:
                ended.append(True)

    requests = Watched().sample(50)
    next(requests)
    requests.close()
    assert ended == [True]


def test_a_sampler_may_return_a_list():
    class Listed(Simple):
        def _sample(self, n_obs):
            return [{"requests": [slice(0, 4)]}, {"requests": np.array([3, 3])}]

    assert orders(Listed()) == [[0, 1, 2, 3], [0, 1]]


def test_defaults_of_the_properties():
    sampler = Simple()
    assert (sampler.mask, sampler.rng, sampler.epoch) == (slice(0, None), None, 0)
    sampler.mask = slice(2, 5)
    assert sampler.mask == slice(2, 5)
    assert Simple().mask == slice(0, None)


class Named(Simple):
    """A sampler written for 0.3, with a seed and other attributes of its own."""

    def __init__(self, seed=7):
        self.seed = self._seed = seed
        self.n_ranks, self.world_size, self.rank = 2, 2, 0
        self.n_remaining = self._remaining = self._share = self._between = self._seek = 0

    def _sample(self, n_obs):
        order = np.random.default_rng([self._seed, self.epoch]).permutation(n_obs)
        for start in range(0, n_obs, 10):
            yield {"requests": order[start : start + 10]}


class SetsEpoch(Named):
    def set_epoch(self, epoch):
        self.epoch = epoch


class SetsPrivateEpoch(Named):
    def set_epoch(self, epoch):
        self._epoch = epoch


class KeepsEpochElsewhere(Named):
    current = 0

    def set_epoch(self, epoch):
        self.current = epoch

    def _sample(self, n_obs):
        self._epoch = self.current
        return super()._sample(n_obs)


@pytest.mark.parametrize("kind", [Named, SetsEpoch, SetsPrivateEpoch, KeepsEpochElsewhere])
@pytest.mark.parametrize("distributed", [False, True])
def test_attributes_of_a_sampler_do_not_collide_with_the_contract(kind, distributed):
    def make():
        sampler = DistributedSampler(kind(), dist_info=lambda: (0, 1)) if distributed else kind()
        return Loader(batch_sampler=sampler, return_index=True).add_dataset(np.zeros((40, 1)))

    loader = make()
    for epoch in (0, 1):
        rows = np.concatenate([batch["index"] for batch in loader])
        np.testing.assert_array_equal(rows, np.random.default_rng([7, epoch]).permutation(40))
    batches = iter(loader)
    next(batches)
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    assert [batch["index"].tolist() for batch in resumed] == [batch["index"].tolist() for batch in batches]


def test_a_contract_that_is_not_met_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        Sampler()
    with pytest.raises(TypeError, match="abstract"):
        Adapter()


class Recorder(Adapter):
    """Gives back what it is given, and asks for room in steps of 50."""

    name = "recorder"

    def capacity(self, nnz):
        return -(-nnz // 50) * 50

    def dense(self, array):
        return array

    def csr(self, matrix):
        return matrix


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f2", "f4", "c8", "c16"])
def test_padding_is_zeros_in_no_column(dtype):
    # Several windows, so that a block that held other values before is padded again.
    csr = sp.random(60, 12, 0.4, "csr", random_state=0)
    csr.data[...] = 1
    loader = Loader(batch_size=7, chunk_size=7, preload_nchunks=2, to=Recorder(), dtype=dtype).add_dataset(csr)
    done = 0
    for _ in range(3):
        for n, batch in enumerate(loader):
            x = batch["X"]
            assert isinstance(x, CSR)
            expected = csr[7 * n : 7 * n + 7]
            assert x.data.dtype == np.dtype(dtype)
            assert len(x.data) == len(x.indices) == Recorder().capacity(x.nnz)
            assert x.nnz == expected.nnz
            np.testing.assert_array_equal(x.data[: x.nnz], np.ones(x.nnz, dtype))
            np.testing.assert_array_equal(x.data[x.nnz :], np.zeros(len(x.data) - x.nnz, dtype))
            np.testing.assert_array_equal(x.indices[: x.nnz], expected.indices)
            assert (x.indices[x.nnz :] == 12).all()
            np.testing.assert_array_equal(x.indptr, expected.indptr)
            np.testing.assert_array_equal(x.to_dense(), expected.toarray().astype(dtype))
            done += 1
    assert done == 3 * 9


def test_densified_batches_have_no_padding_and_come_through_dense():
    csr = sp.random(20, 12, 0.4, "csr", random_state=0)
    loader = Loader(batch_size=8, chunk_size=8, preload_nchunks=1, to=Recorder(), densify=True).add_dataset(csr)
    found = [batch["X"] for batch in loader]
    np.testing.assert_array_equal(np.concatenate(found), csr.toarray())


def test_the_adapter_makes_the_memory():
    asked = []

    class Allocating(Recorder):
        def allocate(self, nbytes):
            asked.append(nbytes)
            return super().allocate(nbytes)

    loader = Loader(batch_size=4, to=Allocating()).add_dataset(np.ones((20, 3)))
    assert sum(len(batch["X"]) for batch in loader) == 20
    assert asked
    assert loader.stats.peak_buffer_bytes == sum(asked)


def test_an_adapter_that_reserves_too_little_is_told():
    class Short(Recorder):
        def capacity(self, nnz):
            return nnz // 2

    loader = Loader(batch_size=4, to=Short()).add_dataset(sp.csr_matrix(np.ones((20, 3))))
    with pytest.raises(ValueError, match="`capacity` must return at least the 12 elements of the batch, got 6"):
        next(iter(loader))
