"""The shipped suites accept what is right and find what is wrong: each fault by the test that is for it."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest

from annbatch.abc import Adapter, Sampler
from annbatch.samplers import (
    ClassSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    WeightedClassSampler,
)
from annbatch.testing import AdapterTests, SamplerTests


class NumpyAdapter(Adapter):
    """The smallest right adapter: NumPy for NumPy, with padding."""

    name = "numpy"

    def capacity(self, nnz):
        return nnz + 10

    def dense(self, array):
        if array.dtype.kind not in "biufc":
            raise TypeError(f"NumpyAdapter has no array of dtype {array.dtype}.")
        return array

    def csr(self, matrix):
        return matrix


class NumpyAdapterTests(AdapterTests):
    adapter = NumpyAdapter()

    def csr_parts(self, matrix):
        return matrix.data, matrix.indices, matrix.indptr


class TestARightAdapter(NumpyAdapterTests):
    pass


class Nameless(NumpyAdapter):
    name = ""


class HoldsALambda(NumpyAdapter):
    def __init__(self):
        self.transform = lambda array: array


class AllocatesAnywhere(NumpyAdapter):
    def allocate(self, nbytes):
        return np.empty(nbytes + 1, np.uint8)[1:]


class AllocatesTheSameTwice(NumpyAdapter):
    def allocate(self, nbytes):
        return BLOCK[:nbytes]


BLOCK = Adapter.allocate(NumpyAdapter(), 2_000_000)


class HasNoRoom(NumpyAdapter):
    def capacity(self, nnz):
        return 100


class Narrows(NumpyAdapter):
    def dense(self, array):
        return super().dense(array).astype("float32")


class Flattens(NumpyAdapter):
    def dense(self, array):
        return super().dense(array).reshape(len(array), -1)


class Writes(NumpyAdapter):
    def dense(self, array):
        array[...] = array
        return super().dense(array)


class SortsColumns(NumpyAdapter):
    def csr(self, matrix):
        scipy = matrix.to_scipy().copy()
        scipy.sort_indices()
        return dataclasses.replace(matrix, data=scipy.data, indices=scipy.indices)


class WidensIndices(NumpyAdapter):
    def csr(self, matrix):
        return dataclasses.replace(matrix, indices=matrix.indices.astype("int64"))


class ForgetsRepeatedColumns(NumpyAdapter):
    def densify(self, matrix):
        dense = np.zeros(matrix.shape, matrix.data.dtype)
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        dense[rows, matrix.indices[: matrix.nnz]] = matrix.data[: matrix.nnz]
        return dense


class TakesEverything(NumpyAdapter):
    def dense(self, array):
        return array


class Copies(NumpyAdapter):
    def dense(self, array):
        return super().dense(array).copy()


class CopiesIndices(NumpyAdapter):
    def csr(self, matrix):
        return dataclasses.replace(matrix, indices=matrix.indices.copy())


class ForgetsItsMemory(NumpyAdapter):
    def dense(self, array):
        if array.size == 0:
            return array
        import ctypes

        there = (ctypes.c_uint8 * array.nbytes).from_address(array.ctypes.data)
        return np.frombuffer(there, dtype=array.dtype).reshape(array.shape)


class KeepsAllMemory(NumpyAdapter):
    def __init__(self):
        self.kept = []

    def dense(self, array):
        self.kept.append(array)
        return super().dense(array)


@pytest.mark.parametrize(
    ("faulty", "test", "error"),
    [
        (Nameless, "test_name", AssertionError),
        (HoldsALambda, "test_pickle", (AttributeError, pickle.PicklingError)),
        (AllocatesAnywhere, "test_allocate", AssertionError),
        (AllocatesTheSameTwice, "test_allocate", AssertionError),
        (HasNoRoom, "test_capacity", AssertionError),
        (Narrows, "test_dense", AssertionError),
        (Flattens, "test_dense", AssertionError),
        (Writes, "test_dense_read_only", ValueError),
        (WidensIndices, "test_csr", AssertionError),
        (ForgetsRepeatedColumns, "test_densify", AssertionError),
        (TakesEverything, "test_other_dtypes_are_refused", AssertionError),
        (Copies, "test_zero_copy", AssertionError),
        (CopiesIndices, "test_zero_copy", AssertionError),
        (ForgetsItsMemory, "test_kept_batches", AssertionError),
        (KeepsAllMemory, "test_memory_comes_back", AssertionError),
    ],
)
def test_a_faulty_adapter_is_found(faulty, test, error):
    class Suite(NumpyAdapterTests):
        adapter = faulty()

    with pytest.raises(error):
        getattr(Suite(), test)()


def test_an_adapter_that_sorts_columns_is_found():
    class Suite(NumpyAdapterTests):
        adapter = SortsColumns()
        dtypes = ("float32",)

    with pytest.raises(AssertionError, match="indices"):
        Suite().test_csr()


def test_a_suite_without_parts_says_so():
    class Suite(AdapterTests):
        adapter = NumpyAdapter()

    with pytest.raises(NotImplementedError, match="Suite must define `csr_parts`"):
        Suite().test_csr()


class TestRandomSampler(SamplerTests):
    epochs_differ = True

    def make_sampler(self):
        return RandomSampler(7, 6, 14, rng=np.random.default_rng(0))


class TestRandomSamplerWithReplacement(SamplerTests):
    n_obs = (100, 1001)
    refused_n_obs = (1,)
    every_row_once = False
    epochs_differ = True

    def make_sampler(self):
        return RandomSampler(5, 4, 10, replacement=True, num_samples=333, rng=np.random.default_rng(0))


CLASSES = pd.Categorical(np.random.default_rng(0).choice(["a", "b"], 1001))


class TestRandomSamplerWithWeights(SamplerTests):
    n_obs = (1001,)
    refused_n_obs = (1000,)
    every_row_once = False
    epochs_differ = True

    def make_sampler(self):
        return RandomSampler(5, 4, 10, weights=np.arange(1001), rng=np.random.default_rng(0))


class TestClassSampler(SamplerTests):
    n_obs = (1001,)
    refused_n_obs = (1000,)
    every_row_once = False
    epochs_differ = True
    kind = ClassSampler

    def make_sampler(self):
        return self.kind(5, 4, 10, classes=CLASSES, num_samples=333, rng=np.random.default_rng(0))


class TestWeightedClassSampler(TestClassSampler):
    kind = WeightedClassSampler


class TestAnySetOfRows(SamplerTests):
    n_obs = (1001,)
    epochs_differ = True

    def make_sampler(self):
        return RandomSampler(7, 6, 14, mask=np.arange(1001) % 3 > 0, rng=np.random.default_rng(0))


class TestDistributedSampler(SamplerTests):
    n_obs = (100, 1001)
    refused_n_obs = (41,)
    every_row_once = False
    epochs_differ = True
    remainder = "drop"

    def make_sampler(self):
        sampler = RandomSampler(7, 6, 14, rng=np.random.default_rng(0))
        return DistributedSampler(sampler, dist_info=lambda: (1, 3), remainder=self.remainder)


class TestDistributedSamplerThatWraps(TestDistributedSampler):
    refused_n_obs = ()
    remainder = "wrap"


class TestSequentialSampler(SamplerTests):
    n_obs = (60, 1000)
    refused_n_obs = (49,)

    def make_sampler(self):
        return SequentialSampler(7, 6, 14, mask=slice(20, 50))


class Rows(Sampler):
    """A right sampler of one request, for faults to be built on."""

    batch_size = 10
    shuffle = False

    def n_batches(self, n_obs):
        return -(-n_obs // 10)

    def validate(self, n_obs):
        if n_obs < 1:
            raise ValueError(f"`n_obs` must be positive, got {n_obs}.")

    def _sample(self, n_obs):
        yield {"requests": np.arange(n_obs)}


class TestARightSampler(SamplerTests):
    refused_n_obs = (0,)

    def make_sampler(self):
        return Rows()


class AcceptsAnything(Rows):
    def validate(self, n_obs):
        pass


class ReadsBeyondTheEnd(Rows):
    def _sample(self, n_obs):
        yield {"requests": [slice(0, n_obs + 1)]}


class SplitsBeyondTheEnd(Rows):
    def _sample(self, n_obs):
        yield {"requests": [slice(0, n_obs)], "splits": [np.array([n_obs])]}


class Miscounts(Rows):
    def n_batches(self, n_obs):
        return n_obs


class MakesLargeBatches(Rows):
    def n_batches(self, n_obs):
        return 1

    def _sample(self, n_obs):
        yield {"requests": [slice(0, n_obs)], "splits": [np.arange(n_obs)]}


class Repeats(Rows):
    def _sample(self, n_obs):
        yield {"requests": np.zeros(n_obs, np.int64)}


class IsNeverTheSame(Rows):
    def _sample(self, n_obs):
        yield {"requests": np.random.default_rng().permutation(n_obs)}


class RemembersWhatItSampled(Rows):
    """In a list, which the copy that a pass runs on shares with the sampler."""

    def __init__(self):
        self.passes = []

    def _sample(self, n_obs):
        self.passes.append(n_obs)
        yield {"requests": np.roll(np.arange(n_obs), len(self.passes))}


class CountsWhatItYielded(Rows):
    """Its order depends on how much of an epoch was asked for before."""

    yielded = 0

    def make(self, n_obs):
        type(self).yielded += 1
        return np.roll(np.arange(n_obs), type(self).yielded)

    def _sample(self, n_obs):
        yield {"requests": self.make(n_obs)}


class NamesNoSeed(Rows):
    made = 0

    def identity(self):
        type(self).made += 1
        return {"made": self.made}


class NamesAnArray(Rows):
    def identity(self):
        return {"rows": (1, 2)}


@pytest.mark.parametrize(
    ("faulty", "test"),
    [
        (CountsWhatItYielded, "test_a_pass_begins_at_any_batch"),
        (CountsWhatItYielded, "test_workers_share_a_pass"),
        (NamesNoSeed, "test_identity"),
        (NamesAnArray, "test_identity"),
        (AcceptsAnything, "test_validate"),
        (ReadsBeyondTheEnd, "test_rows_exist"),
        (SplitsBeyondTheEnd, "test_rows_exist"),
        (Miscounts, "test_batches"),
        (MakesLargeBatches, "test_batches"),
        (Repeats, "test_every_row_once"),
        (IsNeverTheSame, "test_an_epoch_repeats"),
        (RemembersWhatItSampled, "test_an_epoch_repeats"),
        (RemembersWhatItSampled, "test_an_abandoned_epoch_leaves_nothing"),
        (Rows, "test_epochs_differ"),
    ],
)
def test_a_faulty_sampler_is_found(faulty, test):
    class Suite(SamplerTests):
        refused_n_obs = (0,)
        epochs_differ = True

        def make_sampler(self):
            return faulty()

    with pytest.raises(AssertionError):
        getattr(Suite(), test)()
