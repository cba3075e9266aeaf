"""Convert host batches to JAX arrays: sharing memory on the CPU, with one transfer to a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from annbatch.abc import Adapter
from annbatch.errors import MissingDependencyError
from annbatch.transforms import NormalizeLog1p

from ._buckets import make_buckets
from ._placement import OneDevice, ShareOfMany

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import jax
    from jax.experimental import sparse
    from jax.experimental.sparse import BCSR

    from annbatch.batch import CSR, CompactWindow
    from annbatch.transforms import Transform


class JaxAdapter(Adapter):
    """Delivers batches as ``jax.Array``, or as sparse matrices where the data is sparse.

    On the CPU an array shares the memory of the batch. Sparse matrices are padded, so that a jitted step meets few
    shapes and compiles few times: padding values are 0 in column ``n_vars``, which JAX leaves out of every operation.
    While ``jax_enable_x64`` is off, 64-bit data comes in 32 bits if that changes no value, else it is an error.

    Parameters
    ----------
    device
        A ``jax.Device``, a sharding, or a platform with an optional number: ``"cpu"``, ``"gpu"``, ``"gpu:1"``. None:
        the default device of JAX.
    sharding
        Instead of ``device``: a ``NamedSharding`` of the rows over the devices of one or many processes. Batches become
        global arrays (``jax.make_array_from_process_local_data``); each process loads its own rows. Batches must be
        dense (``densify=True``) and divide evenly over the devices.
    nse_buckets
        Sizes to which sparse batches are padded: ``"pow2"``, powers of two from 256 on, so at most twice the nnz; a
        list, whose largest size must hold any batch; or None, no padding, so that most batches compile.
    stages
        Whether with ``densify=True`` sparse data goes to the device one window at a time, in its compact stored form,
        and becomes dense there (also in float16 and bfloat16). None: on a GPU or TPU, where this halves the bytes
        transferred; on the CPU annbatch's own kernel is faster.
    ahead
        Number of batches of a window that are moved to the device ahead of time, while a step computes. None: 1, and 0
        on the CPU.
    cast_64bit
        Whether 64-bit floats are rounded while ``jax_enable_x64`` is off, instead of an error.
    sparse
        Sparse matrices of ``jax.experimental.sparse``: ``"bcsr"``, ``"bcoo"`` or ``"csr"``, which has no batch
        dimensions and few operations, but is what scverse annbatch yields.

    Raises
    ------
    annbatch.errors.MissingDependencyError
        If JAX is not installed.
    ValueError
        If there is no such ``device`` on this machine, if ``sharding`` is combined with it or with ``stages``, if
        ``nse_buckets`` is empty, if ``ahead`` is negative, or if ``sparse`` is none of the three.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch_jax import JaxAdapter
    >>> adapter = JaxAdapter()
    >>> host = adapter.allocate(8).view(np.float32)
    >>> host[:] = 1, 2
    >>> array = adapter.dense(host)
    >>> array.unsafe_buffer_pointer() == host.ctypes.data
    True
    >>> adapter.capacity(1_000)
    1024
    """

    name = "jax"
    accelerator = "gpu"
    labels_dtype = "int32"  # JAX has no int64 unless `jax_enable_x64` is on

    def __init__(
        self,
        device: jax.Device | jax.sharding.Sharding | str | None = None,
        *,
        sharding: jax.sharding.NamedSharding | None = None,
        nse_buckets: Literal["pow2"] | Sequence[int] | None = "pow2",
        stages: bool | None = None,
        ahead: int | None = None,
        cast_64bit: bool = False,
        sparse: Literal["bcsr", "bcoo", "csr"] = "bcsr",
    ) -> None:
        try:
            import jax  # noqa: F401 - only to see whether it imports
        except ModuleNotFoundError as exc:
            raise MissingDependencyError("Adapter 'jax' needs JAX: `pip install jax`.") from exc
        if sharding is not None and device is not None:
            raise ValueError(f"`sharding` excludes `device`: it names the devices itself, got {device!r}.")
        self._placement = OneDevice(device) if sharding is None else ShareOfMany(sharding)
        self._bucket = make_buckets(nse_buckets)
        self._stages = not self._placement.on_cpu if stages is None else stages
        if self._stages and sharding is not None:
            raise ValueError("`stages` must not be True with `sharding`: the host makes rows dense.")
        if ahead is not None and ahead < 0:
            raise ValueError(f"`ahead` must not be negative, got {ahead}.")
        self._ahead = int(not self._placement.on_cpu) if ahead is None else ahead
        if sparse not in ("bcsr", "bcoo", "csr"):
            raise ValueError(f"`sparse` must be 'bcsr', 'bcoo' or 'csr', got {sparse!r}.")
        self._sparse, self._cast_64bit = sparse, cast_64bit
        self._options = {
            "nse_buckets": nse_buckets,
            "stages": stages,
            "ahead": ahead,
            "cast_64bit": cast_64bit,
            "sparse": sparse,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (type(self), self._placement.argument(), self._options)

    @property
    def ahead(self) -> int:
        """Number of batches of a window that are moved to the device before they are requested."""
        return self._ahead

    def capacity(self, nnz: int) -> int:
        """Return the padded size of a batch of ``nnz`` values.

        Raises
        ------
        ValueError
            If no size in ``nse_buckets`` is large enough.
        """
        return self._bucket(nnz)

    def dense(self, array: np.ndarray) -> jax.Array:
        """Return a dense host array as a ``jax.Array``.

        Raises
        ------
        TypeError
            If JAX has no such dtype, or none that holds every value while ``jax_enable_x64`` is off.
        """
        return self._put(array)[0]

    def csr(self, matrix: CSR) -> BCSR | sparse.BCOO | sparse.CSR:
        """Return a sparse host batch as a sparse matrix whose ``nse`` is the capacity of the batch.

        Raises
        ------
        TypeError
            If JAX has no such dtype, or none that holds every value while ``jax_enable_x64`` is off.
        """
        from jax.experimental import sparse

        if isinstance(self._placement, ShareOfMany):
            raise TypeError("JAX cannot shard the rows of a sparse matrix: use dense batches (`Loader(densify=True)`).")
        if self._sparse == "bcoo":
            data, places = self._put(matrix.data, _places(matrix))
            return sparse.BCOO((data, places), shape=matrix.shape)
        arrays = self._put(matrix.data, matrix.indices, matrix.indptr)
        if self._sparse == "csr":
            return sparse.CSR(arrays, shape=matrix.shape)
        return _bcsr(arrays, matrix.shape)

    @property
    def densifies(self) -> bool:
        """Whether dense batches are made by JAX, on a GPU or TPU or with ``stages=True``."""
        return self._stages or not self._placement.on_cpu

    def densify(self, matrix: CSR) -> jax.Array:
        """Return a sparse host batch as a dense ``jax.Array``, made on the device or, on the CPU, by annbatch's kernel.

        Raises
        ------
        TypeError
            If JAX has no such dtype, or none that holds every value while ``jax_enable_x64`` is off.
        """
        if self._placement.on_cpu:
            return self.dense(matrix.to_dense())
        from ._stage import room_for

        data, indices, indptr = self._put(matrix.data, matrix.indices, matrix.indptr)
        nbytes = matrix.shape[0] * matrix.shape[1] * data.dtype.itemsize
        with room_for("A dense batch", nbytes, next(iter(data.devices()))):
            return expand(_bcsr((data, indices, indptr), matrix.shape))

    @property
    def stages(self) -> bool:
        """Whether windows that become dense go to the device whole."""
        return self._stages

    def applies(self, transform: Transform) -> bool:
        """Return whether it is :class:`~annbatch.transforms.NormalizeLog1p`, the only transform done on the device."""
        return isinstance(transform, NormalizeLog1p)

    def stage(self, window: CompactWindow) -> Callable[[int], jax.Array]:
        """Start transferring a window to the device; see :meth:`annbatch.abc.Adapter.stage`.

        Raises
        ------
        TypeError
            If JAX has no such dtype, or none that holds every value while ``jax_enable_x64`` is off.
        annbatch.errors.DeviceMemoryError
            If the device has no room.
        """
        from ._stage import StagedWindow

        return StagedWindow(self._narrowed(window), self._put)

    def _narrowed(self, window: CompactWindow) -> CompactWindow:
        """Return the window in dtypes that JAX keeps; values between batches are undefined, and not looked at."""
        batches = [window.elements(batch) for batch in range(window.n_batches)]
        if window.dtype != "bfloat16":
            wanted = np.dtype(window.dtype)
            narrow = self._narrow(wanted)
            if narrow != wanted and not self._cast_64bit:
                if window.transform is not None:
                    raise _refused(wanted, narrow, "the results of a transform")
                for batch in batches:
                    self._exact(window.data[batch], wanted, narrow)
            window = replace(window, dtype=narrow.name)
        stored = self._narrow(window.data.dtype)
        if stored != window.data.dtype:
            data = np.zeros(len(window.data), stored)
            for batch in batches:
                data[batch] = self._fitting(window.data[batch])
            window = replace(window, data=data)
        return window

    def _put(self, *arrays: np.ndarray) -> tuple[jax.Array, ...]:
        from ._stage import room_for

        fitting = tuple(map(self._fitting, arrays))
        with room_for("A batch or window", sum(array.nbytes for array in fitting), "the device"):
            return self._placement.put(fitting)

    def _fitting(self, array: np.ndarray) -> np.ndarray:
        """Return the array in a dtype that JAX keeps: it would silently narrow 64-bit dtypes."""
        narrow = self._narrow(array.dtype)
        if narrow == array.dtype:
            return array
        if self._cast_64bit and array.dtype.kind in "fc":
            return array.astype(narrow)
        return self._exact(array, array.dtype, narrow)

    def _narrow(self, dtype: np.dtype) -> np.dtype:
        """Return the dtype of JAX for a NumPy dtype, or raise ``TypeError`` where there is none."""
        import jax

        if dtype.kind not in "biufc" or not dtype.isnative:
            raise TypeError(
                f"JAX has no dtype {dtype}: choose another (`Loader(dtype='float32')`), or leave the column out "
                "(`obs_columns`)."
            )
        narrow: np.dtype = jax.dtypes.canonicalize_dtype(dtype)
        return narrow

    @staticmethod
    def _exact(array: np.ndarray, wanted: np.dtype, narrow: np.dtype) -> np.ndarray:
        """Return the array in a narrower dtype; raise if that changes a value."""
        with np.errstate(over="ignore", invalid="ignore"):
            cast = array.astype(narrow)
        changed = (cast != array) & (array == array)  # NaN is unequal to itself
        if changed.any():
            raise _refused(wanted, narrow, str(array[changed][0]))
        return cast


def _refused(wanted: np.dtype, narrow: np.dtype, value: str) -> TypeError:
    return TypeError(
        f"JAX has no dtype {wanted} while `jax_enable_x64` is off, and {narrow} does not hold {value}: switch it on "
        "(`jax.config.update('jax_enable_x64', True)`); for X, choose another dtype (`Loader(dtype='float32')`), or "
        "let the adapter round floats (`Loader(to=JaxAdapter(cast_64bit=True))`)."
    )


def _bcsr(arrays: tuple[jax.Array, ...], shape: tuple[int, int]) -> BCSR:
    from jax.experimental.sparse import BCSR

    # As jitted functions do: the constructor would convert the arrays again, a third of the time.
    result: BCSR = BCSR.tree_unflatten({"shape": shape, "indices_sorted": False, "unique_indices": False}, arrays)
    return result


def _places(matrix: CSR) -> np.ndarray:
    """Return row and column of each value, ``(capacity, 2)``; padding lies outside of the matrix."""
    rows = np.full(len(matrix.indices), matrix.shape[0], matrix.indices.dtype)
    rows[: matrix.nnz] = np.repeat(np.arange(matrix.shape[0], dtype=rows.dtype), np.diff(matrix.indptr))
    return np.stack([rows, matrix.indices], axis=1)


def expand(matrix: BCSR) -> jax.Array:
    """Return a ``BCSR`` as a dense array on its device, without padding; repeated columns add up.

    Works for booleans too, unlike ``BCSR.todense``: JAX does not add them.
    """
    import jax
    from jax.experimental.sparse import BCSR

    if matrix.dtype == bool:
        counts = BCSR((matrix.data.astype("int32"), matrix.indices, matrix.indptr), shape=matrix.shape)
        return expand(counts) != 0
    dense: jax.Array = jax.jit(BCSR.todense)(matrix)
    return dense


def _remake(cls: type[JaxAdapter], device: Any, options: dict[str, Any]) -> JaxAdapter:
    return cls(device, **options)
