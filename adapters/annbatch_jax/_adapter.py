"""Host batches become JAX arrays: over the same memory on the CPU, by one transfer on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from annbatch.abc import Adapter
from annbatch.errors import MissingDependencyError

from ._buckets import make_buckets

if TYPE_CHECKING:
    from collections.abc import Sequence

    import jax
    from jax.experimental.sparse import BCSR

    from annbatch.batch import CSR


class JaxAdapter(Adapter):
    """Hands batches over as ``jax.Array``, and as ``BCSR`` where the data is sparse.

    On the CPU an array shares the memory of the batch. A ``BCSR`` has room for more values than the batch has, so that
    a jitted step meets few shapes and compiles few times: the values beyond are 0 in column ``n_var``, which JAX
    leaves out of every operation.

    Parameters
    ----------
    device
        A ``jax.Device``, a sharding, or a platform and, where one is meant, a number: ``"cpu"``, ``"gpu"``,
        ``"gpu:1"``. None: wherever JAX puts arrays by default.
    nse_buckets
        How many values a batch may have room for: ``"pow2"``, a power of two from 256 on, so at most twice the nnz;
        sizes, of which the greatest must hold any batch; or None, exactly the nnz, so that most batches compile.
    cast_64bit
        What happens to 64-bit data while JAX runs without ``jax_enable_x64``, where it holds none. False: an error.
        True: floats are rounded to 32 bits, integers cast, and refused where they do not fit.

    Raises
    ------
    annbatch.errors.MissingDependencyError
        If JAX is not installed.
    ValueError
        If there is no such ``device`` on this machine, or ``nse_buckets`` holds no sizes.

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

    def __init__(
        self,
        device: jax.Device | jax.sharding.Sharding | str | None = None,
        *,
        nse_buckets: Literal["pow2"] | Sequence[int] | None = "pow2",
        cast_64bit: bool = False,
    ) -> None:
        try:
            import jax  # noqa: F401 - whether it can be imported is the question
        except ModuleNotFoundError as exc:
            raise MissingDependencyError("Adapter 'jax' needs JAX: `pip install 'annbatch[jax]'`.") from exc
        self._placed = _placement(device)
        self._bucket = make_buckets(nse_buckets)
        self._options = {"nse_buckets": nse_buckets, "cast_64bit": cast_64bit}
        self._cast_64bit = cast_64bit

    def __reduce__(self) -> tuple[Any, ...]:
        import jax

        device = self._placed
        if isinstance(device, jax.Device):  # which JAX does not pickle
            device = f"{device.platform}:{device.id}"
        return _remake, (type(self), device, self._options)

    def capacity(self, nnz: int) -> int:
        """Return the size of the bucket for a batch of ``nnz`` values.

        Raises
        ------
        ValueError
            If none of ``nse_buckets`` is large enough.
        """
        return self._bucket(nnz)

    def dense(self, array: np.ndarray) -> jax.Array:
        """Return a dense host array as a ``jax.Array``.

        Raises
        ------
        TypeError
            If JAX has no such dtype, or none while ``jax_enable_x64`` is off.
        """
        return self._put(array)[0]

    def csr(self, matrix: CSR) -> BCSR:
        """Return a sparse host batch as a ``BCSR`` of ``nse`` the capacity of the batch.

        Raises
        ------
        TypeError
            If JAX has no such dtype, or none while ``jax_enable_x64`` is off.
        """
        import jax
        from jax.experimental.sparse import BCSR

        wide = np.dtype(np.int64)
        if wide in (matrix.indices.dtype, matrix.indptr.dtype) and jax.dtypes.canonicalize_dtype(wide) != wide:
            raise TypeError(
                f"A batch of {matrix.nnz} non-zeros in {matrix.shape[1]} columns has int64 indices, which JAX lacks "
                "while `jax_enable_x64` is off: switch it on (`jax.config.update('jax_enable_x64', True)`), or make "
                "`batch_size` smaller."
            )
        arrays = self._put(matrix.data, matrix.indices, matrix.indptr)
        return BCSR((arrays[0], arrays[1], arrays[2]), shape=matrix.shape)

    @property
    def densifies(self) -> bool:
        """Whether dense batches are made on a GPU."""
        return not self._on_cpu()

    def densify(self, matrix: CSR) -> jax.Array:
        """Return a sparse host batch as a ``jax.Array``, made on the device; on the CPU, by annbatch's kernel.

        Raises
        ------
        TypeError
            If JAX has no such dtype, or none while ``jax_enable_x64`` is off.
        """
        if self._on_cpu():
            return self.dense(matrix.to_dense())
        return expand(self.csr(matrix))

    def _put(self, *arrays: np.ndarray) -> Sequence[jax.Array]:
        import jax

        placed: Sequence[jax.Array] = jax.device_put(tuple(map(self._fitting, arrays)), self._placed)
        return placed

    def _fitting(self, array: np.ndarray) -> np.ndarray:
        """Return the array in a dtype that JAX keeps as it is: it narrows 64-bit ones without a word."""
        import jax

        if array.dtype.kind not in "biufc" or not array.dtype.isnative:
            raise TypeError(
                f"JAX has no array of dtype {array.dtype}: ask for another (`Loader(dtype='float32')`), or leave the "
                "column out (`obs_columns`)."
            )
        narrow = jax.dtypes.canonicalize_dtype(array.dtype)
        if narrow == array.dtype:
            return array
        if not self._cast_64bit:
            raise TypeError(
                f"JAX has no array of dtype {array.dtype} while `jax_enable_x64` is off: switch it on "
                "(`jax.config.update('jax_enable_x64', True)`), ask for another dtype (`Loader(dtype='float32')`), or "
                "let the adapter cast (`Loader(to=JaxAdapter(cast_64bit=True))`)."
            )
        cast = array.astype(narrow)
        if array.dtype.kind in "iu" and not np.array_equal(cast, array):
            misfit = array[cast != array][0]
            raise ValueError(f"With `cast_64bit`, values of {array.dtype} must fit {narrow}, got {misfit}.")
        return cast

    def _on_cpu(self) -> bool:
        import jax

        where = jax.numpy.zeros(0) if self._placed is None else jax.device_put(np.zeros(0, np.int8), self._placed)
        return all(device.platform == "cpu" for device in where.devices())


def expand(matrix: BCSR) -> jax.Array:
    """Return a ``BCSR`` as a dense array on its device; repeated columns add up, padding is left out.

    Unlike ``BCSR.todense``, of booleans too, which JAX does not add.
    """
    import jax
    from jax.experimental.sparse import BCSR

    if matrix.dtype == bool:
        counts = BCSR((matrix.data.astype("int32"), matrix.indices, matrix.indptr), shape=matrix.shape)
        return expand(counts) != 0
    dense: jax.Array = jax.jit(BCSR.todense)(matrix)
    return dense


def _placement(device: Any) -> Any:
    """Return what ``jax.device_put`` takes for what the user gave."""
    import jax

    if not isinstance(device, str):
        if device is None or isinstance(device, (jax.Device, jax.sharding.Sharding)):
            return device
        raise TypeError(f"`device` must be a platform's name, a jax.Device, a sharding or None, got {device!r}.")
    platform, _, number = device.partition(":")
    try:
        devices = jax.devices(platform)
        return devices[0] if not number else next(each for each in devices if each.id == int(number))
    except (RuntimeError, StopIteration, ValueError) as exc:
        there = ", ".join(f"'{each.platform}:{each.id}'" for each in jax.devices())
        raise ValueError(f"`device` must be one that JAX can use here ({there}), got {device!r}.") from exc


def _remake(cls: type[JaxAdapter], device: Any, options: dict[str, Any]) -> JaxAdapter:
    return cls(device, **options)
