"""The loader end to end: every row as it was, batches that are the user's, and ends of every kind."""

from __future__ import annotations

import gc
import itertools
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy as copied

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from annbatch import Loader, write_sharded
from annbatch.abc import Sampler
from annbatch.samplers import RandomSampler, SequentialSampler

DTYPES = ["f4", "f8", "i8", "i4", "u2", "u8", "i1", "?", "c8"]


def random_matrix(seed: int, n_rows: int, n_columns: int, dtype: str, *, sparse: bool, density: float = 0.3):
    """Return a matrix of every sort of value; empty rows and columns among them."""
    rng = np.random.default_rng(seed)
    dense = rng.integers(0, 256, (n_rows, n_columns, np.dtype(dtype).itemsize), dtype=np.uint8)
    dense = (dense[..., 0] % 2 == 0) if dtype == "?" else dense.view(dtype)[..., 0]
    dense = np.where(np.isfinite(dense), dense, 2).astype(dtype)
    dense[rng.random(dense.shape) >= density] = 0
    dense[rng.random(n_rows) < 0.2] = 0
    return sp.csr_matrix(dense) if sparse else dense


def stack(parts):
    return sp.vstack(parts, format="csr") if sp.issparse(parts[0]) else np.concatenate(parts)


def check_batch(batch, expected) -> None:
    """Compare a batch with the rows of ``expected`` that its index names, bit for bit."""
    x, wanted = batch["X"], expected[batch["index"]]
    assert x.dtype == wanted.dtype
    assert x.shape == wanted.shape
    if sp.issparse(expected):
        assert type(x) is sp.csr_matrix
        for name in ("data", "indices", "indptr"):
            found = getattr(x, name)
            np.testing.assert_array_equal(found, getattr(wanted, name))
            assert found.size == 0 or found.ctypes.data % 64 == 0
        assert x.indices.dtype == x.indptr.dtype == np.int32
        assert x.data.tobytes() == wanted.data.tobytes()
        x.check_format()
    else:
        assert x.tobytes() == wanted.tobytes()
        assert x.flags.c_contiguous
        assert x.flags.writeable
        assert x.size == 0 or x.ctypes.data % 64 == 0


def check_epoch(loader, expected, *, drop_last: bool = False) -> list[int]:
    """Check one epoch's batches; return the rows in their order."""
    n = expected.shape[0]
    size = loader.batch_sampler.batch_size
    batches = list(loader)
    assert len(batches) == len(loader)
    sizes = [len(batch["index"]) for batch in batches]
    assert sizes == [size] * (n // size) + ([n % size] if n % size and not drop_last else [])
    for batch in batches:
        assert batch["index"].dtype == np.int64
        check_batch(batch, expected)
    rows = [row for batch in batches for row in batch["index"].tolist()]
    assert len(set(rows)) == len(rows)
    if not drop_last:
        assert set(rows) == set(range(n))
    return rows


@st.composite
def sampling(draw):
    """Return arguments of a loader that fit together."""
    batch_size = draw(st.integers(1, 20))
    chunk_size = draw(st.sampled_from([1, 2, 7, 16, 32, 512]))
    preload = draw(st.integers(1, 5)) * batch_size // int(np.gcd(batch_size, chunk_size))
    return {
        "batch_size": batch_size,
        "chunk_size": chunk_size,
        "preload_nchunks": preload,
        "shuffle": draw(st.booleans()),
        "drop_last": draw(st.booleans()),
        "prefetch": draw(st.sampled_from([0, 1, "1KB", "1GB"])),
        "seed": draw(st.integers(0, 2**40)),
    }


@st.composite
def datasets(draw):
    """Return matrices of one width and dtype, empty ones among them."""
    sizes = draw(st.lists(st.one_of(st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=4))
    sizes = sizes if sum(sizes) else [*sizes, 1]
    dtype, sparse = draw(st.sampled_from(DTYPES)), draw(st.booleans())
    density, n_columns = draw(st.sampled_from([0.0, 0.3, 1.0])), draw(st.integers(1, 20))
    return [random_matrix(i, n, n_columns, dtype, sparse=sparse, density=density) for i, n in enumerate(sizes)]


@given(datasets(), sampling())
def test_every_row_comes_back_exactly_and_once(matrices, arguments):
    with Loader(return_index=True, **arguments).add_datasets(matrices) as loader:
        first, second = (check_epoch(loader, stack(matrices), drop_last=arguments["drop_last"]) for _ in range(2))
    if not arguments["shuffle"]:
        assert first == second == list(range(len(first)))


@pytest.mark.slow
@settings(max_examples=12)
@given(datasets(), sampling(), st.integers(1, 9), st.data())
def test_every_row_of_a_store_comes_back_exactly_and_once(tmp_path_factory, matrices, arguments, n_obs_per_chunk, data):
    matrices = [matrix for matrix in matrices if matrix.dtype.kind != "c"] or [np.ones((3, 2))]
    matrices = [matrix for matrix in matrices if matrix.shape[0]] or [np.ones((3, 2))]
    root = zarr.open_group(tmp_path_factory.mktemp("stores"), mode="w")
    for i, matrix in enumerate(matrices):
        write_sharded(root, ad.AnnData(matrix), n_obs_per_chunk=n_obs_per_chunk, key=str(i))
    with Loader(return_index=True, **arguments) as loader:
        for i in range(len(matrices)):
            loader.add_dataset(root[f"{i}/X"])
        check_epoch(loader, stack(matrices), drop_last=arguments["drop_last"])


# Unusual data --------------------------------------------------------------------------------------------------------


def one_epoch(matrix, **arguments):
    arguments = {"batch_size": 4, "chunk_size": 2, "preload_nchunks": 4} | arguments
    with Loader(return_index=True, **arguments).add_dataset(matrix) as loader:
        check_epoch(loader, matrix)


def test_whole_batches_without_values():
    one_epoch(sp.csr_matrix((50, 7), dtype="f4"))
    one_epoch(sp.vstack([sp.csr_matrix((20, 7)), sp.csr_matrix(np.eye(7)), sp.csr_matrix((20, 7))], format="csr"))


def test_a_single_row_and_a_single_column():
    one_epoch(sp.csr_matrix(np.array([[0, 3.5, 0]])))
    one_epoch(np.array([[1], [2], [3]]))


def test_values_that_are_no_counts():
    huge = np.array([[0, np.iinfo("i8").min], [np.iinfo("i8").max, 2**53 + 1], [-1, 0]])
    one_epoch(huge)
    one_epoch(sp.csr_matrix(huge))
    one_epoch(sp.csr_matrix(np.array([[0, 2**64 - 1]], dtype="u8")))
    one_epoch(sp.csr_matrix(np.array([[0.1, -0.0, np.nan, np.inf, 5e-324, 1e308]])))


@pytest.mark.slow
def test_explicit_zeros_and_repeated_columns_stay_as_they_are_stored():
    matrix = sp.csr_matrix(([0, 5, 6, 0], [2, 1, 1, 0], [0, 3, 4]), shape=(2, 3))
    one_epoch(matrix)
    with Loader(batch_size=2, densify=True).add_dataset(matrix) as loader:
        np.testing.assert_array_equal(next(iter(loader))["X"], matrix.toarray())


@pytest.mark.parametrize("sparse", [True, False])
def test_datasets_without_rows_and_of_one_row(sparse):
    matrices = [random_matrix(i, n, 5, "f4", sparse=sparse) for i, n in enumerate([0, 1, 0, 9, 1, 0])]
    obs = [pd.DataFrame({"batch": pd.Categorical([str(i)] * m.shape[0])}) for i, m in enumerate(matrices)]
    loader = Loader(batch_size=3, chunk_size=3, preload_nchunks=2, shuffle=True, seed=0, return_index=True)
    loader.add_datasets(matrices, obs)
    check_epoch(loader, stack(matrices))
    found = pd.concat([batch["obs"].assign(row=batch["index"]) for batch in loader]).sort_values("row")
    assert found["batch"].tolist() == ["1", *"3" * 9, "4"]
    loader.close()


def test_dense_rows_of_many_dimensions():
    for shape in [(30,), (30, 2, 3), (30, 2, 1, 4)]:
        one_epoch(np.arange(np.prod(shape), dtype="i4").reshape(shape))


def test_datasets_of_different_dtypes_arrive_in_their_common_one():
    matrices = [random_matrix(0, 9, 4, "u2", sparse=True), random_matrix(1, 9, 4, "f8", sparse=True)]
    with Loader(batch_size=3, chunk_size=3, return_index=True).add_datasets(matrices) as loader:
        check_epoch(loader, stack(matrices).astype("f8"))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "c8"])
def test_dtype_is_that_of_the_values(dtype):
    matrix = sp.csr_matrix(np.arange(12, dtype="u1").reshape(4, 3))
    with Loader(batch_size=4, chunk_size=4, return_index=True, dtype=dtype).add_dataset(matrix) as loader:
        check_epoch(loader, matrix.astype(dtype))


@pytest.mark.parametrize("dtype", ["f2", "f4", "u1", "?"])
def test_densify_gives_a_dense_array(dtype):
    dense = np.arange(30).reshape(10, 3).astype(dtype)
    with Loader(batch_size=4, chunk_size=4, densify=True, dtype=dtype).add_dataset(
        sp.csr_matrix(dense.astype("f4"))
    ) as loader:
        found = [batch["X"] for batch in loader]
    assert all(x.dtype == np.dtype(dtype) and x.ctypes.data % 64 == 0 for x in found)
    np.testing.assert_array_equal(np.concatenate(found), dense)


# Order ---------------------------------------------------------------------------------------------------------------

MATRIX = random_matrix(0, 203, 9, "f4", sparse=True)


def small(**arguments) -> Loader:
    defaults = {"batch_size": 10, "chunk_size": 5, "preload_nchunks": 4, "shuffle": True, "return_index": True}
    return Loader(**{**defaults, **arguments}).add_dataset(MATRIX)


def order(loader) -> list[int]:
    return [row for batch in loader for row in batch["index"].tolist()]


def test_one_seed_repeats_and_two_differ():
    assert order(small(seed=1)) == order(small(seed=1)) == order(small(rng=np.random.default_rng(1)))
    assert len({tuple(order(small(seed=seed))) for seed in (1, 2, None, None)}) == 4


def test_the_order_does_not_depend_on_reading_ahead():
    assert order(small(seed=1, prefetch=0)) == order(small(seed=1, prefetch=1)) == order(small(seed=1))


def test_epochs_differ_and_can_be_chosen():
    loader = small(seed=1)
    epochs = [order(loader) for _ in range(3)]
    assert loader.epoch == 3
    assert len(set(map(tuple, epochs))) == 3
    loader.set_epoch(1)
    assert loader.epoch == 1
    assert order(loader) == epochs[1]
    assert loader.epoch == 2
    fresh = small(seed=1)
    fresh.set_epoch(2)
    assert order(fresh) == epochs[2]


def test_an_iteration_that_is_left_early_is_not_repeated():
    loader = small(seed=1)
    epochs = [order(loader) for _ in range(4)]
    loader.set_epoch(0)
    for epoch in epochs[:3]:
        left = [row for batch in itertools.islice(loader, 3) for row in batch["index"].tolist()]
        assert left == epoch[: len(left)]
    assert loader.epoch == 3
    assert order(loader) == epochs[3]


def test_open_iterators_have_different_epochs():
    loader = small(seed=1)
    epochs = [order(loader) for _ in range(3)]
    loader.set_epoch(0)
    pairs = [(one["index"].tolist(), other["index"].tolist()) for one, other in zip(loader, loader, strict=True)]
    for rows, epoch in zip(zip(*pairs, strict=True), epochs, strict=False):
        assert list(itertools.chain.from_iterable(rows)) == epoch
    assert order(loader) == epochs[2]


def test_an_iterator_that_is_not_used_is_no_epoch():
    loader = small(seed=1)
    epochs = [order(loader) for _ in range(2)]
    loader.set_epoch(0)
    unused, batches = iter(loader), iter(loader)  # as Lightning does, before and after which it calls `set_epoch`
    loader.set_epoch(0)
    assert [row for batch in batches for row in batch["index"].tolist()] == epochs[0]
    assert [row for batch in unused for row in batch["index"].tolist()] == epochs[1]


def test_a_copy_has_a_position_of_its_own():
    loader = small(seed=1)
    epochs = [order(loader) for _ in range(2)]
    loader.set_epoch(0)
    batches = iter(loader)
    rows = next(batches)["index"].tolist()
    state, twin = loader.state_dict(), copied(loader)
    assert [order(twin), order(twin)] == epochs
    assert loader.state_dict() == state
    assert rows + [row for batch in batches for row in batch["index"].tolist()] == epochs[0]
    assert order(loader) == epochs[1]


def test_lightning_finds_set_epoch_on_the_sampler():
    loader = small(seed=1)
    second = order(loader) and order(loader)
    loader.sampler.set_epoch(1)
    assert order(loader) == second


def test_len_is_known_before_iterating():
    assert len(small()) == 21
    assert len(small(drop_last=True)) == 20
    assert len(Loader(batch_sampler=RandomSampler(5, 4, 10, num_samples=31)).add_dataset(MATRIX)) == 4


# Samplers of one's own -----------------------------------------------------------------------------------------------


class Repeating(Sampler):
    """Written for a sampler's contract of old: no splits, and rows that repeat across datasets."""

    batch_size = 3
    shuffle = True

    def n_batches(self, n_obs):
        return 4

    def validate(self, n_obs):
        pass

    def _sample(self, n_obs):
        yield {"requests": [slice(2, 6), slice(4, 6), slice(0, 1)]}
        yield {"requests": np.array([n_obs - 1, 0, 0, n_obs - 1])}


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("prefetch", [0, "1GB"])
def test_a_sampler_without_splits_works_and_repeats_per_epoch(sparse, prefetch):
    matrices = [random_matrix(i, 8, 6, "f4", sparse=sparse) for i in range(2)]
    loader = Loader(batch_sampler=Repeating(), return_index=True, prefetch=prefetch).add_datasets(matrices)
    batches = list(loader)
    for batch in batches:
        check_batch(batch, stack(matrices))
    rows = [batch["index"].tolist() for batch in batches]
    assert sorted(itertools.chain(*rows[:3])) == [0, 2, 3, 4, 4, 5, 5]
    assert sorted(itertools.chain(*rows[3:])) == [0, 0, 15, 15]
    assert [len(batch) for batch in rows] == [3, 3, 1, 3, 1]
    assert order(loader) != list(itertools.chain(*rows))
    loader.set_epoch(0)
    assert order(loader) == list(itertools.chain(*rows))


def test_splits_may_leave_rows_out_repeat_them_and_be_empty():
    class Given(Repeating):
        def _sample(self, n_obs):
            yield {"requests": [slice(0, 9)], "splits": [np.array([8, 8, 1]), np.array([], dtype=int), np.array([8])]}
            yield {"requests": [], "splits": []}
            yield {"requests": [slice(3, 4)], "splits": [np.array([0])]}

    obs = pd.DataFrame({"name": [str(i) for i in range(203)]})
    loader = Loader(batch_sampler=Given(), return_index=True).add_dataset(MATRIX, obs)
    batches = list(loader)
    assert [batch["index"].tolist() for batch in batches] == [[8, 8, 1], [], [8], [3]]
    assert [batch["obs"]["name"].tolist() for batch in batches] == [["8", "8", "1"], [], ["8"], ["3"]]
    for batch in batches:
        check_batch(batch, MATRIX)


@pytest.mark.parametrize("prefetch", [0, "1GB"])
def test_an_exception_in_a_sampler_surfaces_and_the_loader_goes_on(prefetch):
    class Failing(Repeating):
        fail = True

        def _sample(self, n_obs):
            yield {"requests": [slice(0, 3)]}
            if self.fail:
                raise LookupError("the sampler's own")

    loader = Loader(batch_sampler=Failing(), return_index=True, prefetch=prefetch).add_dataset(MATRIX)
    batches = iter(loader)
    assert sorted(next(batches)["index"].tolist()) == [0, 1, 2]
    with pytest.raises(LookupError, match="the sampler's own"):
        next(batches)
    loader.batch_sampler.fail = False
    assert sorted(order(loader)) == [0, 1, 2]


# Batches are the user's ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [True, False])
def test_a_batch_kept_while_others_are_read_is_unchanged(sparse):
    matrix = random_matrix(0, 203, 9, "f4", sparse=sparse)
    loader = Loader(batch_size=10, chunk_size=5, preload_nchunks=4, shuffle=True, return_index=True)
    loader.add_dataset(matrix, pd.DataFrame({"n": np.arange(203), "c": pd.Categorical(np.arange(203) % 7)}))
    kept, copies = [], []
    for epoch in range(12):
        batches = iter(loader)
        for _ in range(epoch % 3):
            next(batches)
        kept.append(next(batches))
        copies.append(pickle.loads(pickle.dumps(kept[-1])))
        for _ in batches:
            pass
    loader.close()
    for was, copy in zip(kept, copies, strict=True):
        check_batch(was, matrix)
        np.testing.assert_array_equal(was["index"], copy["index"])
        pd.testing.assert_frame_equal(was["obs"], copy["obs"])
        assert (was["obs"]["n"] == was["index"]).all()


VIEWS = {
    "a view of a view": lambda x: x.data[2:][1:],
    "a memoryview": lambda x: memoryview(x.data)[3:],
    "np.frombuffer": lambda x: np.frombuffer(x.indices, dtype=np.int32),
    "a matrix": lambda x: x,
    "another matrix over the same memory": lambda x: x.T,
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_memory_is_not_used_again_while_a_view_lives(view):
    loader = Loader(batch_size=50, chunk_size=10, preload_nchunks=10, shuffle=True, prefetch=0).add_dataset(MATRIX)
    held = [view(batch["X"]) for batch in loader]
    copies = pickle.loads(pickle.dumps([np.array(h) if isinstance(h, memoryview) else h for h in held]))
    for _ in range(10):
        for batch in loader:
            batch["X"].data[...] = -1
            batch["X"].indices[...] = 0
    for was, copy in zip(held, copies, strict=True):
        assert (was != copy).nnz == 0 if sp.issparse(was) else np.array_equal(np.array(was), copy)


def test_a_batch_may_be_written_to():
    obs = pd.DataFrame({"n": np.arange(203.0)})
    loader = Loader(batch_size=10, return_index=True, chunk_size=10).add_dataset(MATRIX, obs)
    for batch in loader:
        batch["X"].data[...] = 0
        batch["obs"]["n"] = 0.0
        batch["obs"]["more"] = 1
        batch["index"][...] = 0
    assert obs["n"].tolist() == list(range(203))
    check_epoch(loader, MATRIX)


def test_memory_is_flat_over_epochs():
    loader = small(seed=0, prefetch=0)
    for _ in range(3):
        order(loader)
    early = loader.stats.peak_buffer_bytes
    for _ in range(50):
        order(loader)
    assert loader.stats.peak_buffer_bytes == early > 0


def test_memory_is_bounded_while_reading_ahead():
    loader = small(seed=0, prefetch=1)
    for _ in range(50):
        order(loader)
    # At once: the window that the user is at, the one before in their hands still, one ahead and one being started, of
    # three blocks each, none of which is smaller than 4 KB. The 50 epochs fill 1,650 blocks.
    assert 0 < loader.stats.peak_buffer_bytes <= 4 * 3 * 2 * 4096


def test_stats_add_up(tmp_path):
    write_sharded(zarr.open_group(tmp_path, mode="w"), ad.AnnData(MATRIX))
    with Loader(batch_size=10, chunk_size=5, preload_nchunks=4).add_dataset(zarr.open_group(tmp_path)["X"]) as loader:
        assert (loader.stats.rows, loader.stats.batches, loader.stats.bytes_read) == (0, 0, 0)
        for n, batch in enumerate(loader, start=1):
            assert (loader.stats.rows, loader.stats.batches) == (min(203, 10 * n), n)
            assert batch["X"].nnz >= 0
        before = loader.stats
        assert before.bytes_read > 0
        assert before.read_seconds > 0
        assert before.wait_seconds > 0
        assert before.peak_buffer_bytes >= 20 * 8
        for _ in loader:
            pass
        assert (loader.stats.rows, loader.stats.batches) == (406, 42)
        assert loader.stats.bytes_read > before.bytes_read


# Ends of every kind --------------------------------------------------------------------------------------------------


class OurThreads:
    """The threads that loaders have started since this was made."""

    def __init__(self) -> None:
        self._before = set(threading.enumerate())

    def running(self) -> list[str]:
        new = set(threading.enumerate()) - self._before
        return [thread.name for thread in new if thread.name.startswith("annbatch")]

    def wait_until_gone(self) -> None:
        deadline = time.monotonic() + 60
        while self.running() and time.monotonic() < deadline:
            gc.collect()  # what a thread is at keeps references to the loader until it is done
            time.sleep(0.01)
        assert not self.running()


def test_close_stops_the_threads_and_the_loader_can_start_again():
    threads = OurThreads()
    loader = small(seed=0)
    first = order(loader)
    assert threads.running()
    loader.close()
    assert not threads.running()
    loader.close()
    loader.set_epoch(0)
    assert order(loader) == first


def test_the_context_manager_closes():
    threads = OurThreads()
    with small() as loader:
        batches = iter(loader)
        kept = next(batches)
    assert not threads.running()
    check_batch(kept, MATRIX)


@pytest.mark.parametrize("prefetch", [0, "1GB"])
def test_an_iterator_does_not_end_quietly_where_the_loader_was_closed(prefetch):
    loader = small(prefetch=prefetch, seed=0)
    batches = iter(loader)
    next(batches)
    loader.close()
    with pytest.raises(RuntimeError, match="The iterator was closed before its end"):
        list(batches)
    assert sorted(order(loader)) == list(range(203))


@pytest.mark.parametrize("prefetch", [0, "1GB"])
def test_close_on_another_thread_ends_an_iteration_with_an_error_of_ours(prefetch):
    loader = small(prefetch=prefetch, seed=0)
    done = threading.Event()

    def close() -> None:
        while not done.is_set():
            loader.close()

    closer = threading.Thread(target=close)
    closer.start()
    try:
        for _ in range(200):
            with suppress_closed():
                assert len(list(loader)) > 0
    finally:
        done.set()
        closer.join()
    loader.set_epoch(0)
    assert sorted(order(loader)) == list(range(203))


@contextmanager
def suppress_closed() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("The iterator was closed before its end"):
            raise


def test_breaking_out_leaves_nothing_running():
    loader = small()
    for _ in range(20):
        for _batch in loader:
            break
    batches = iter(loader)
    next(batches)
    del batches
    loader.add_dataset(MATRIX)  # so no iterator counts as open
    assert len(order(loader)) == 406


def test_threads_end_when_the_loader_is_garbage():
    threads = OurThreads()
    loader = small()
    batches = iter(loader)
    next(batches)
    assert threads.running()
    loader.itself = loader  # a cycle
    del loader, batches
    threads.wait_until_gone()


def test_datasets_cannot_be_added_while_iterating():
    loader = small()
    batches = iter(loader)
    next(batches)
    with pytest.raises(RuntimeError, match="Datasets cannot be added while the loader is being iterated"):
        loader.add_dataset(MATRIX)
    assert loader.n_obs == 203
    batches.close()
    assert loader.add_dataset(MATRIX).n_obs == 406


def test_a_loader_may_be_iterated_on_another_thread():
    loader, found = small(seed=0), []
    thread = threading.Thread(target=lambda: found.extend(order(loader)))
    thread.start()
    thread.join(60)
    assert found == order(small(seed=0))


def test_a_pickled_loader_yields_the_same():
    loader = small(seed=3)
    order(loader)
    batches = iter(loader)
    next(batches)
    twin = pickle.loads(pickle.dumps(loader))
    assert twin.epoch == 2
    assert order(twin) == [row for batch in loader for row in batch["index"].tolist()]


# What it says of itself ----------------------------------------------------------------------------------------------


def test_properties():
    obs = pd.DataFrame({"type": pd.Categorical(["a", "b"] * 100 + ["a"] * 3), "n": np.arange(203)})
    var = pd.DataFrame(index=[f"gene{i}" for i in range(9)])
    sampler = SequentialSampler(5, 4, 10)
    loader = Loader(batch_sampler=sampler).add_dataset(MATRIX, obs, var)
    assert (loader.n_obs, loader.n_vars, loader.dataset_type) == (203, 9, sp.csr_matrix)
    assert loader.n_var == loader.n_vars  # the name of scverse annbatch
    assert loader.batch_sampler is sampler
    pd.testing.assert_frame_equal(loader.var, var)
    assert {name: list(c) for name, c in loader.categories.items()} == {"type": ["a", "b"]}
    assert repr(loader) == "Loader(1 dataset, 203 x 9, csr, memory, sampler=SequentialSampler, to=NumPy)"
    batch = next(iter(loader))
    assert list(batch) == ["X", "obs", "var", "index"]
    assert batch["var"] is loader.var
    assert batch["index"] is None
    assert next(iter(Loader(batch_size=1).add_dataset(MATRIX)))["obs"] is None


def test_obs_comes_in_the_order_of_the_rows():
    names = [f"cell{i}" for i in range(203)]
    obs = pd.DataFrame(
        {
            "type": pd.Categorical(np.array(list("abc"))[np.arange(203) % 3]),
            "n": np.arange(203),
            "x": np.linspace(0, 1, 203),
            "name": names,
            "flag": np.arange(203) % 2 == 0,
            "maybe": pd.array([None if i % 5 == 0 else i for i in range(203)], dtype="Int64"),
            "missing": pd.Categorical([None if i % 4 == 0 else "z" for i in range(203)]),
        },
        index=names,
    )
    loader = Loader(batch_size=10, chunk_size=5, preload_nchunks=4, shuffle=True, return_index=True)
    for batch in loader.add_dataset(MATRIX, obs):
        pd.testing.assert_frame_equal(batch["obs"], obs.iloc[batch["index"]])
    arrays = Loader(
        batch_size=10, chunk_size=10, obs_as="arrays", obs_columns=["n", "type", "missing"], return_index=True
    )
    for batch in arrays.add_dataset(MATRIX, obs):
        assert list(batch["obs"]) == ["n", "type", "missing"]
        np.testing.assert_array_equal(batch["obs"]["n"], batch["index"])
        np.testing.assert_array_equal(arrays.categories["type"][batch["obs"]["type"]], obs["type"].iloc[batch["index"]])
        np.testing.assert_array_equal(batch["obs"]["missing"], np.where(batch["index"] % 4 == 0, -1, 0))
