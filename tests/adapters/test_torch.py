"""PyTorch's adapter: the shipped suite, and what is PyTorch's own."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from annbatch import Loader
from annbatch.batch import CSR
from annbatch.errors import DeviceMemoryError, MissingDependencyError
from annbatch.testing import AdapterTests
from annbatch.testing._batches import compact_window, dense_batch, densified, expanded, sparse_batch
from annbatch.tokens import TopGenes
from annbatch_torch import TorchAdapter
from annbatch_torch._adapter import expand

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)


def exactly(nnz: int) -> int:
    return nnz


def with_padding(nnz: int) -> int:
    return nnz + 100


class TestTorchAdapter(AdapterTests):
    adapter = TorchAdapter()

    def csr_parts(self, matrix):
        return matrix.values(), matrix.col_indices(), matrix.crow_indices()


class TestTorchAdapterThatStages(TestTorchAdapter):
    """What a CUDA device does with a window, done on the CPU."""

    adapter = TorchAdapter(stages=True)

    def test_bfloat16(self):
        window = compact_window(self.adapter.allocate, [9, 3], "uint8", seed=0, wanted="bfloat16")
        batch = self.adapter.stage(window)(0)
        assert batch.dtype == torch.bfloat16
        np.testing.assert_array_equal(batch.float().numpy(), expanded(window, 0))  # counts below 256 are exact

    def test_no_room_for_a_batch(self, monkeypatch):
        """A full CUDA device, simulated: nothing else raises this error here."""
        from annbatch_torch import _stage

        def full(*arguments, **options):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        monkeypatch.setattr(_stage, "expand", full)
        make = self.adapter.stage(compact_window(self.adapter.allocate, [9], "uint8", seed=0, wanted="bfloat16"))
        rule = r"A dense batch of 720 bytes does not fit into the free memory of cpu: make `batch_size` or"
        with pytest.raises(DeviceMemoryError, match=rule) as error:
            make(0)
        assert isinstance(error.value.__cause__, torch.OutOfMemoryError)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device")
class TestTorchAdapterOnCuda(AdapterTests):
    zero_copy = False

    @property
    def adapter(self):
        return TorchAdapter("cuda")

    def to_numpy(self, array):
        return array.cpu().numpy()

    def csr_parts(self, matrix):
        return matrix.values(), matrix.col_indices(), matrix.crow_indices()

    def test_no_room(self):
        window = compact_window(self.adapter.allocate, [64], "uint8", seed=0, wanted="float32")
        make = self.adapter.stage(replace(window, n_columns=2**36))
        rule = (
            r"A dense batch of 17,592,186,044,416 bytes does not fit into the free memory of cuda:0: make `batch_size`"
        )
        with pytest.raises(DeviceMemoryError, match=rule):
            make(0)

    def test_windows_are_pinned(self):
        assert torch.from_numpy(self.adapter.allocate(4096)).is_pinned()

    def test_memory_is_held_until_it_was_copied(self):
        """The copies wait behind work on the device, while the host's memory is offered for reuse at once."""
        from annbatch._runtime.buffers import BufferPool

        adapter = self.adapter
        pool = BufferPool(adapter.allocate)
        adapter._transfer._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(adapter._transfer._stream):
            torch.cuda._sleep(200_000_000)
        arrays = []
        for number in range(20):
            host = pool.lend(4_000_000)
            host[:] = number
            arrays.append(adapter.dense(host))
            del host
        for number, array in enumerate(arrays):
            assert bool((array == number).all())

    def test_copies_end_before_the_adapter_is_gone(self):
        """A batch that outlives its loader: the host's memory is anyone's as soon as nothing holds it."""
        adapter = self.adapter
        with torch.cuda.stream(adapter._transfer._stream):
            torch.cuda._sleep(200_000_000)
        host = adapter.allocate(4_000_000)
        host[:] = 1
        array = adapter.dense(host)
        del adapter
        host[:] = 2
        assert bool((array == 1).all())


@pytest.mark.parametrize("capacity", [exactly, with_padding])
def test_a_sparse_batch_is_a_view_of_the_host(capacity):
    adapter = TorchAdapter()
    batch = sparse_batch(adapter.allocate, (33, 20), "float32", seed=0, capacity=capacity)
    tensor = adapter.csr(batch)
    assert tensor.layout is torch.sparse_csr
    assert tensor.values().data_ptr() == batch.data.ctypes.data
    assert tensor.col_indices().data_ptr() == batch.indices.ctypes.data
    assert tensor.crow_indices().data_ptr() == batch.indptr.ctypes.data
    assert tensor.col_indices().dtype == tensor.crow_indices().dtype == torch.int32
    assert tensor.values().numel() == batch.nnz  # PyTorch has no padding


def test_a_dense_batch_is_a_view_of_the_host():
    host = dense_batch(TorchAdapter().allocate, (5, 3, 8), "uint16", seed=0)
    assert TorchAdapter().dense(host).data_ptr() == host.ctypes.data


def test_writing_to_a_tensor_of_a_read_only_array_leaves_the_array():
    host = np.arange(3.0)
    host.flags.writeable = False
    TorchAdapter().dense(host)[0] = 7
    assert host[0] == 0


def test_a_sparse_batch_computes():
    batch = sparse_batch(TorchAdapter().allocate, (33, 20), "float32", seed=0, capacity=exactly)
    weights = np.arange(40, dtype=np.float32).reshape(20, 2)
    product = TorchAdapter().csr(batch) @ torch.from_numpy(weights)
    np.testing.assert_array_equal(product.numpy(), densified(batch) @ weights)


def test_a_batch_without_values_computes():
    batch = sparse_batch(TorchAdapter().allocate, (3, 4), "uint8", seed=0, capacity=exactly, density=0)
    tensor = TorchAdapter().csr(batch)
    assert tensor.dtype == torch.uint8
    assert not tensor.to_dense().any()


@pytest.mark.parametrize("dtype", AdapterTests.dtypes)
def test_expand_is_exact(dtype):
    """What a CUDA device does to densify, done on the CPU."""
    batch = sparse_batch(TorchAdapter().allocate, (33, 20), dtype, seed=0, capacity=exactly)
    np.testing.assert_array_equal(expand(TorchAdapter().csr(batch)).numpy(), densified(batch), strict=True)


def test_indices_of_64_bits():
    """Only a batch of more than 2**31 non-zeros has them, and then in ``indptr`` alone."""
    indptr = np.array([0, 1, 2], np.int64)
    tensor = TorchAdapter().csr(CSR(np.ones(2, np.float32), np.array([4, 0], np.int32), indptr, (2, 5)))
    np.testing.assert_array_equal(tensor.to_dense(), [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0]])


def test_a_default_device_draws_nothing_away():
    batch = sparse_batch(TorchAdapter().allocate, (3, 4), "float32", seed=0, capacity=exactly)
    with torch.device("meta"):
        adapter = TorchAdapter()
        tensors = adapter.csr(batch), adapter.dense(batch.data), adapter.densify(batch)
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


def test_another_device_than_the_cpu():
    batch = sparse_batch(TorchAdapter().allocate, (3, 4), "float32", seed=0, capacity=exactly)
    adapter = TorchAdapter("meta")
    assert adapter.csr(batch).device.type == adapter.dense(batch.data).device.type == "meta"
    assert adapter.densify(batch).shape == (3, 4)


def test_invariants_stay_unchecked_where_the_user_checks_them():
    batch = sparse_batch(TorchAdapter().allocate, (20, 30), "float32", seed=0, capacity=exactly)
    assert (np.diff(batch.indices) <= 0).any(), "the batch must break an invariant: columns ascending, each once"
    with torch.sparse.check_sparse_tensor_invariants():
        TorchAdapter().csr(batch)
        assert torch.sparse.check_sparse_tensor_invariants.is_enabled()


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", 99])
def test_a_device_that_is_not_there(device):
    with pytest.raises(ValueError, match=rf"`device` must be one that PyTorch can use here \('cpu'.*got {device!r}"):
        TorchAdapter(device)


def test_another_byte_order():
    with pytest.raises(TypeError, match=re.escape("PyTorch has no dtype >f4: choose another (`Loader(dtype=")):
        TorchAdapter().dense(np.zeros(3, ">f4"))


def test_without_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    needs = re.escape("Adapter 'torch' needs PyTorch: `pip install torch`.")
    with pytest.raises(MissingDependencyError, match=needs) as error:
        TorchAdapter()
    assert isinstance(error.value.__cause__, ModuleNotFoundError)


def test_importing_the_package_imports_no_pytorch_and_no_warning_reaches_the_user():
    """PyTorch warns that sparse CSR is beta at the first such tensor of a process, so in a process of its own."""
    code = (
        "import sys, annbatch_torch; assert 'torch' not in sys.modules;"
        "import numpy as np; from annbatch_torch import TorchAdapter; from annbatch.batch import CSR;"
        "i = np.zeros(1, 'i4'); TorchAdapter().csr(CSR(np.ones(1, 'f4'), i, np.array([0, 1], 'i4'), (1, 1)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_warnings_are_shown_again_after_the_adapter_was_made():
    TorchAdapter()
    with pytest.warns(UserWarning, match="Sparse CSR tensor support is in beta"):
        warnings.warn("Sparse CSR tensor support is in beta", UserWarning, stacklevel=1)


def test_tokens_are_tensors():
    loader = Loader(encoder=TopGenes(4), to="torch", batch_size=5, chunk_size=5, preload_nchunks=1)
    x = np.arange(60, dtype=np.float32).reshape(10, 6) % 7
    for batch in loader.add_dataset(x):
        tokens = batch["tokens"]
        assert [(name, array.dtype) for name, array in tokens.items()] == [
            ("ids", torch.int64),
            ("values", torch.float32),
            ("mask", torch.bool),
            ("length", torch.int32),
        ]
        values = torch.gather(batch["X"], 1, tokens["ids"])
        assert torch.equal(values * tokens["mask"], tokens["values"])
        assert torch.equal(tokens["mask"].sum(dim=1), tokens["length"])
