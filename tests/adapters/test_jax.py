"""JAX's adapter: the shipped suite, and what is JAX's own."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from annbatch import Loader
from annbatch.batch import CSR
from annbatch.errors import DeviceMemoryError, MissingDependencyError
from annbatch.samplers import PairedSampler
from annbatch.testing import AdapterTests
from annbatch.testing._batches import compact_window, dense_batch, densified, expanded, sparse_batch
from annbatch.tokens import TopGenes
from annbatch.transforms import NormalizeLog1p
from annbatch_jax import JaxAdapter
from annbatch_jax._adapter import expand

jax = pytest.importorskip("jax", reason="JAX is not installed", exc_type=ImportError)
sparse = pytest.importorskip("jax.experimental.sparse", reason="JAX is not installed", exc_type=ImportError)

NARROW = tuple(dtype for dtype in AdapterTests.dtypes if dtype not in ("int64", "uint64", "float64", "complex128"))
WEIGHTS = np.arange(40, dtype=np.float32).reshape(20, 2)


class JaxAdapterTests(AdapterTests):
    adapter = JaxAdapter()
    dtypes = NARROW

    def csr_parts(self, matrix):
        return matrix.data, matrix.indices, matrix.indptr


class TestJaxAdapter(JaxAdapterTests):
    pass


class TestJaxAdapterWithoutPadding(JaxAdapterTests):
    adapter = JaxAdapter(nse_buckets=None)


class TestJaxAdapterOnANamedDevice(JaxAdapterTests):
    adapter = JaxAdapter("cpu")


class TestJaxAdapterThatStages(JaxAdapterTests):
    """What a GPU does with a window, done on the CPU."""

    adapter = JaxAdapter(stages=True)

    def test_bfloat16(self):
        window = compact_window(self.adapter.allocate, [9, 3], "uint8", seed=0, wanted="bfloat16")
        batch = self.adapter.stage(window)(0)
        assert batch.dtype == jax.numpy.bfloat16
        np.testing.assert_array_equal(batch.astype("float32"), expanded(window, 0))  # counts below 256 are exact

    def test_no_room(self):
        """JAX computes asynchronously: here the error is raised when the array is used, on a GPU by the call."""
        from annbatch_jax._stage import room_for

        window = compact_window(self.adapter.allocate, [65_536], "uint8", seed=0, wanted="float32")
        make = self.adapter.stage(replace(window, n_columns=2**31 - 1))  # more than the address space holds
        rule = (
            r"A dense batch of 562,949,953,159,168 bytes does not fit into the free memory of gpu:0: make `batch_size`"
        )
        with pytest.raises(DeviceMemoryError, match=rule), room_for("A dense batch", 562_949_953_159_168, "gpu:0"):
            make(0).block_until_ready()
        other = jax.errors.JaxRuntimeError("INTERNAL: something else")
        with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), room_for("A dense batch", 1, "gpu:0"):
            raise other

    def test_few_shapes_are_compiled_for(self):
        from annbatch_jax._stage import expand

        expand.clear_cache()
        for seed in range(20):
            window = compact_window(self.adapter.allocate, [64] * 4, "uint8", seed=seed, wanted="float32")
            make = self.adapter.stage(window)
            for batch in range(4):
                make(batch)
        assert 1 <= expand._cache_size() <= 3, "80 batches of about 770 values"


class TestJaxAdapterWith64Bit(JaxAdapterTests):
    dtypes = AdapterTests.dtypes

    @pytest.fixture(autouse=True)
    def _x64(self):
        jax.config.update("jax_enable_x64", True)
        yield
        jax.config.update("jax_enable_x64", False)


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="JAX finds no GPU")
class TestJaxAdapterOnGpu(JaxAdapterTests):
    zero_copy = False

    @property
    def adapter(self):
        return JaxAdapter("gpu")

    def test_no_room(self):
        window = compact_window(self.adapter.allocate, [65_536], "uint8", seed=0, wanted="float32")
        make = self.adapter.stage(replace(window, n_columns=2**31 - 1))
        with pytest.raises(DeviceMemoryError, match=r"A dense batch of 562,949,953,159,168 bytes does not fit into"):
            make(0)


def padded_batch(dtype: str = "float32", *, nnz_room: int = 1000, shape: tuple[int, int] = (33, 20)):
    """A batch that takes a third of its room at most, with repeated columns and rows without values."""
    adapter = JaxAdapter(nse_buckets=[nnz_room])
    batch = sparse_batch(adapter.allocate, shape, dtype, seed=0, capacity=adapter.capacity, density=0.1)
    assert batch.nnz < nnz_room // 3
    assert (np.diff(batch.indptr) == 0).any()
    return adapter, batch


@pytest.mark.parametrize("name", ["bcsr", "bcoo", "csr"])
def test_kinds_of_sparse_matrices(name):
    _, batch = padded_batch()
    matrix = JaxAdapter(nse_buckets=[1000], sparse=name).csr(batch)
    assert type(matrix).__name__.lower() == name
    assert matrix.nse == 1000
    np.testing.assert_array_equal(matrix.todense(), batch.to_dense())
    np.testing.assert_array_equal(matrix @ WEIGHTS, batch.to_dense() @ WEIGHTS)


def test_a_kind_of_sparse_matrix_that_there_is_not():
    with pytest.raises(ValueError, match="`sparse` must be 'bcsr', 'bcoo' or 'csr', got 'csc'"):
        JaxAdapter(sparse="csc")


def test_a_sparse_batch_is_a_view_of_the_host():
    adapter, batch = padded_batch()
    matrix = adapter.csr(batch)
    assert isinstance(matrix, sparse.BCSR)
    for name in ("data", "indices", "indptr"):
        assert getattr(matrix, name).unsafe_buffer_pointer() == getattr(batch, name).ctypes.data, name
    assert matrix.nse == 1000


def test_a_dense_batch_is_a_view_of_the_host():
    host = dense_batch(JaxAdapter().allocate, (5, 3, 8), "uint16", seed=0)
    assert JaxAdapter().dense(host).unsafe_buffer_pointer() == host.ctypes.data


class TestPaddingLeavesResultsAlone:
    def test_todense(self):
        adapter, batch = padded_batch()
        np.testing.assert_array_equal(adapter.csr(batch).todense(), densified(batch), strict=True)
        np.testing.assert_array_equal(jax.jit(sparse.BCSR.todense)(adapter.csr(batch)), densified(batch), strict=True)

    def test_matmul(self):
        adapter, batch = padded_batch()
        matrix, expected = adapter.csr(batch), densified(batch) @ WEIGHTS
        np.testing.assert_array_equal(matrix @ WEIGHTS, expected)
        np.testing.assert_array_equal(jax.jit(lambda matrix: matrix @ WEIGHTS)(matrix), expected)
        np.testing.assert_array_equal(matrix @ WEIGHTS[:, 0], expected[:, 0])

    def test_the_gradient_of_a_matmul(self):
        adapter, batch = padded_batch()
        matrix = adapter.csr(batch)
        gradient = jax.grad(lambda weights: (matrix @ weights).sum())(jax.numpy.asarray(WEIGHTS))
        np.testing.assert_array_equal(gradient, densified(batch).T @ np.ones((33, 2), np.float32))

    def test_vmap_over_dense_operands(self):
        adapter, batch = padded_batch()
        matrix, many = adapter.csr(batch), np.stack([WEIGHTS, 2 * WEIGHTS])
        products = jax.vmap(lambda weights: matrix @ weights)(many)
        np.testing.assert_array_equal(products, densified(batch) @ many)

    def test_vmap_over_batches(self):
        """Batches of one bucket stack into a batched matrix: JAX maps over its leading dimension."""
        adapter, batch = padded_batch()
        matrices = [adapter.csr(batch), adapter.csr(batch)]
        parts = [jax.numpy.stack(part) for part in zip(*((m.data, m.indices, m.indptr) for m in matrices), strict=True)]
        stacked = sparse.BCSR(tuple(parts), shape=(2, 33, 20))
        expected = np.stack([densified(batch)] * 2)
        np.testing.assert_array_equal(jax.vmap(lambda matrix: matrix.todense())(stacked), expected)
        np.testing.assert_array_equal(jax.vmap(lambda matrix: matrix @ WEIGHTS)(stacked), expected @ WEIGHTS)

    def test_bcoo(self):
        adapter, batch = padded_batch()
        matrix, expected = adapter.csr(batch).to_bcoo(), densified(batch)
        np.testing.assert_array_equal(matrix.todense(), expected)
        np.testing.assert_array_equal(matrix @ WEIGHTS, expected @ WEIGHTS)
        np.testing.assert_array_equal(matrix.T.todense(), expected.T)
        np.testing.assert_array_equal(matrix.sum_duplicates(nse=matrix.nse).todense(), expected)
        np.testing.assert_array_equal(sparse.sparsify(lambda m: m.sum(axis=1))(matrix).todense(), expected.sum(axis=1))

    @pytest.mark.parametrize("dtype", NARROW)
    def test_expand(self, dtype):
        """What a GPU does to densify, done on the CPU."""
        adapter, batch = padded_batch(dtype)
        np.testing.assert_array_equal(expand(adapter.csr(batch)), densified(batch), strict=True)

    def test_no_values_at_all(self):
        adapter = JaxAdapter()
        batch = sparse_batch(adapter.allocate, (3, 20), "float32", seed=0, capacity=adapter.capacity, density=0)
        matrix = adapter.csr(batch)
        assert matrix.nse == 256
        assert not matrix.todense().any()
        assert not (matrix @ WEIGHTS).any()


class TestBuckets:
    @given(nnz=st.integers(0, 2**40))
    def test_pow2_at_most_doubles(self, nnz):
        size = JaxAdapter().capacity(nnz)
        assert size.bit_count() == 1
        assert nnz <= size <= max(256, 2 * nnz)

    @given(sizes=st.lists(st.integers(1, 1000), min_size=1), data=st.data())
    def test_sizes_take_the_smallest_that_holds(self, sizes, data):
        nnz = data.draw(st.integers(0, max(sizes)))
        assert JaxAdapter(nse_buckets=sizes).capacity(nnz) == min(size for size in sizes if size >= nnz)

    @given(nnz=st.integers(0, 2**40))
    def test_none_adds_nothing(self, nnz):
        assert JaxAdapter(nse_buckets=None).capacity(nnz) == nnz

    def test_a_batch_above_the_greatest_size(self):
        with pytest.raises(ValueError, match=r"`nse_buckets` must fit every batch, got at most 20 for 21"):
            JaxAdapter(nse_buckets=[10, 20]).capacity(21)

    @pytest.mark.parametrize("sizes", [[], [0, 5], [-1]])
    def test_sizes_that_are_none(self, sizes):
        with pytest.raises(ValueError, match=re.escape("`nse_buckets` must be positive sizes, at least one, got [")):
            JaxAdapter(nse_buckets=sizes)

    def test_another_name(self):
        with pytest.raises(ValueError, match="`nse_buckets` must be 'pow2', sizes or None, got 'pow3'"):
            JaxAdapter(nse_buckets="pow3")

    def test_a_step_compiles_once_a_bucket(self):
        adapter, traces = JaxAdapter(), []

        @jax.jit
        def step(matrix):
            traces.append(matrix.nse)
            return matrix @ WEIGHTS

        for seed in range(30):
            density = 0.1 + seed / 30
            batch = sparse_batch(
                adapter.allocate, (100, 20), "float32", seed=seed, capacity=adapter.capacity, density=density
            )
            np.testing.assert_array_equal(step(adapter.csr(batch)), densified(batch) @ WEIGHTS)
        assert traces == [256, 512, 1024, 2048, 4096][: len(traces)]
        assert 2 <= len(traces) <= 5


class TestAhead:
    def test_batches_are_converted_before_they_are_asked_for(self):
        events = []

        class Recording(JaxAdapter):
            def dense(self, array):
                events.append(("converted", int(array[0, 0])))
                return super().dense(array)

        x = np.arange(24, dtype=np.float32).reshape(12, 2)
        loader = Loader(batch_size=2, chunk_size=2, preload_nchunks=4, to=Recording(ahead=2)).add_dataset(x)
        for batch in loader:
            events.append(("yielded", int(batch["X"][0, 0])))
        first_window, second_window = events[:8], events[8:]
        assert [what for what, _ in first_window] == ["converted"] * 3 + ["yielded", "converted", *["yielded"] * 3]
        assert [row for what, row in first_window if what == "yielded"] == [0, 4, 8, 12]
        assert second_window == [("converted", 16), ("converted", 20), ("yielded", 16), ("yielded", 20)]

    def test_by_default_on_devices_only(self):
        assert JaxAdapter().ahead == 0

    def test_a_number_that_is_none(self):
        with pytest.raises(ValueError, match="`ahead` must not be negative, got -1"):
            JaxAdapter(ahead=-1)


class TestSixtyFourBits:
    @pytest.mark.parametrize(
        ("dtype", "narrow"),
        [("int64", "int32"), ("uint64", "uint32"), ("float64", "float32"), ("complex128", "complex64")],
    )
    def test_come_in_32_where_no_value_is_lost(self, dtype, narrow):
        values = np.array([0, 1, 77] + ([np.nan, np.inf] if dtype[0] in "fc" else []), dtype)
        np.testing.assert_array_equal(JaxAdapter().dense(values), values.astype(narrow), strict=True)

    @pytest.mark.parametrize("cast_64bit", [False, True])
    @pytest.mark.parametrize(("dtype", "value"), [("int64", 2**31), ("int64", -(2**31) - 1), ("uint64", 2**32)])
    def test_integers_that_do_not_fit_are_refused(self, dtype, value, cast_64bit):
        rule = rf"JAX has no dtype {dtype} while `jax_enable_x64` is off, and u?int32 does not hold {value}: switch it"
        with pytest.raises(TypeError, match=rule):
            JaxAdapter(cast_64bit=cast_64bit).dense(np.array([1, value], dtype))

    @pytest.mark.parametrize("value", [0.1, 1e300, 2.0**24 + 1])
    def test_floats_are_rounded_on_request_only(self, value):
        values = np.array([0.5, value])
        rule = "JAX has no dtype float64 while `jax_enable_x64` is off, and float32 does not hold .*cast_64bit=True"
        with pytest.raises(TypeError, match=rule):
            JaxAdapter().dense(values)
        with np.errstate(over="ignore"):
            rounded = values.astype(np.float32)
            array = JaxAdapter(cast_64bit=True).dense(values)
        np.testing.assert_array_equal(array, rounded, strict=True)

    @pytest.mark.parametrize("stages", [False, True])
    @pytest.mark.parametrize("densify", [False, True])
    def test_counts_in_float64_come_in_float32(self, stages, densify):
        counts = sp.random_array((20, 9), density=0.3, rng=0, format="csr", data_sampler=lambda size: np.ones(size) * 3)
        loader = Loader(batch_size=32, to=JaxAdapter(stages=stages), densify=densify).add_dataset(counts)
        (batch,) = loader
        dense = batch["X"] if densify else batch["X"].todense()
        np.testing.assert_array_equal(dense, counts.toarray().astype(np.float32), strict=True)

    def test_staged_windows_are_refused_as_batches_are(self):
        adapter = JaxAdapter(stages=True)
        window = compact_window(adapter.allocate, [9], "float64", seed=0, wanted="float64")
        window.data[0] = 0.1
        with pytest.raises(TypeError, match=r"float32 does not hold 0\.1"):
            adapter.stage(window)
        counts = compact_window(adapter.allocate, [9], "uint16", seed=0, wanted="float64", transform=NormalizeLog1p())
        with pytest.raises(TypeError, match="float32 does not hold the results of a transform"):
            adapter.stage(counts)

    def test_indices_come_in_32_where_they_fit(self):
        batch = CSR(np.ones(1, np.float32), np.zeros(1, np.int64), np.array([0, 1], np.int64), (1, 5))
        np.testing.assert_array_equal(JaxAdapter().csr(batch).todense(), [[1, 0, 0, 0, 0]])
        with jax.enable_x64(True):
            assert JaxAdapter().csr(batch).indptr.dtype == np.int64
        beyond = CSR(np.ones(1, np.float32), np.array([2**31]), np.array([0, 1]), (1, 2**31 + 1))
        with pytest.raises(TypeError, match=r"JAX has no dtype int64 .* int32 does not hold 2147483648"):
            JaxAdapter().csr(beyond)

    def test_come_through_where_they_are_switched_on(self):
        with jax.enable_x64(True):
            host = dense_batch(JaxAdapter().allocate, (8,), "float64", seed=0)
            assert JaxAdapter().dense(host).unsafe_buffer_pointer() == host.ctypes.data


class TestDevice:
    def test_an_object(self):
        (device,) = JaxAdapter(jax.devices()[0]).dense(np.zeros(3, np.int8)).devices()
        assert device is jax.devices()[0]

    def test_a_sharding(self):
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        assert JaxAdapter(sharding).dense(np.zeros(3, np.int8)).sharding == sharding

    def test_a_number(self):
        (device,) = JaxAdapter(f"cpu:{jax.devices('cpu')[0].id}").dense(np.zeros(3, np.int8)).devices()
        assert device == jax.devices("cpu")[0]

    @pytest.mark.parametrize("device", ["nonsense", "cpu:99", "cpu:one"])
    def test_one_that_is_not_there(self, device):
        with pytest.raises(ValueError, match=rf"`device` must be one that JAX can use here \('.*got '{device}'"):
            JaxAdapter(device)

    def test_of_another_kind(self):
        with pytest.raises(
            TypeError, match=r"`device` must be a platform's name, a jax\.Device, a sharding or None, got 3"
        ):
            JaxAdapter(3)

    def test_pickles(self):
        adapter = pickle.loads(pickle.dumps(JaxAdapter(jax.devices()[0], nse_buckets=[7], cast_64bit=True)))
        assert adapter.capacity(3) == 7
        assert adapter.dense(np.zeros(3)).dtype == np.float32


def test_another_byte_order():
    with pytest.raises(TypeError, match=re.escape("JAX has no dtype >f4: choose another (`Loader(dtype=")):
        JaxAdapter().dense(np.zeros(3, ">f4"))


def test_without_jax(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    needs = re.escape("Adapter 'jax' needs JAX: `pip install jax`.")
    with pytest.raises(MissingDependencyError, match=needs) as error:
        JaxAdapter()
    assert isinstance(error.value.__cause__, ModuleNotFoundError)


def test_importing_the_package_imports_no_jax():
    code = "import annbatch_jax, sys; raise SystemExit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tokens_are_arrays_of_one_shape_for_a_jitted_step():
    traces = []

    @jax.jit
    def step(x, tokens):
        traces.append(tokens["ids"].shape)
        return (jax.numpy.take_along_axis(x, tokens["ids"], axis=1) * tokens["mask"] == tokens["values"]).all()

    x = np.arange(60, dtype=np.float32).reshape(10, 6) % 7
    loader = Loader(encoder=TopGenes(4), to="jax", batch_size=2, chunk_size=2, preload_nchunks=2, obs_as="arrays")
    for batch in loader.add_dataset(x):
        tokens = batch["tokens"]
        assert {name: str(array.dtype) for name, array in tokens.items()} == {
            "ids": "int32",
            "values": "float32",
            "mask": "bool",
            "length": "int32",
        }
        assert step(batch["X"], tokens)
    assert traces == [(2, 4)]

    class Padded(TopGenes):
        pad_id = 2**31

    with pytest.raises(ValueError, match=r"`encoder.pad_id` must be an id that int32 holds, got 2147483648"):
        next(iter(Loader(encoder=Padded(4), to="jax").add_dataset(x)))


def test_pairs_with_tokens_and_covariates_have_one_shape_for_a_jitted_step():
    traces = []

    @jax.jit
    def step(batch):
        traces.append(jax.tree.map(jax.numpy.shape, batch))
        return batch["control"]["tokens"]["values"].sum() + batch["covariates"]["drug"].sum() + batch["group"].sum()

    obs = pd.DataFrame({"drug": ["none", "x", "y"] * 20}, index=map(str, range(60)))
    sampler = PairedSampler("drug", control={"drug": "none"}, set_size=4, sets_per_batch=2, drop_last=True, rng=0)
    loader = Loader(
        batch_sampler=sampler,
        encoder=TopGenes(3),
        to="jax",
        obs_as="arrays",
        obs_columns=[],
        covariates={"drug": {"x": [1.0, 2.0], "y": [3.0, 4.0]}},
    ).add_dataset(np.arange(300, dtype=np.float32).reshape(60, 5), obs=obs)
    batches = list(loader)
    assert all(np.isfinite(step(batch)) for batch in batches)
    assert len(batches) > 3
    assert len(traces) == 1
