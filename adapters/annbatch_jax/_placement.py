"""Put arrays on one device, or make this process' share of an array over many devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax
    import numpy as np


class OneDevice:
    """Puts arrays on one device, or as a sharding of whole arrays demands.

    Parameters
    ----------
    device
        Argument of :class:`annbatch_jax.JaxAdapter`.
    """

    def __init__(self, device: Any) -> None:
        self.target = _target(device)

    @property
    def on_cpu(self) -> bool:
        """Whether arrays stay in the host's memory."""
        import jax
        import numpy as np

        where = jax.numpy.zeros(0) if self.target is None else jax.device_put(np.zeros(0, np.int8), self.target)
        return all(device.platform == "cpu" for device in where.devices())

    def put(self, arrays: tuple[np.ndarray, ...]) -> tuple[jax.Array, ...]:
        """Return arrays: on the CPU over the same memory, on any other device as copies that may still be under way."""
        import jax

        arrays_there: tuple[jax.Array, ...] = jax.device_put(arrays, self.target)
        return arrays_there

    def argument(self) -> Any:
        """Return the argument that makes the same placement in another process."""
        import jax

        device = self.target
        if isinstance(device, jax.Device):  # which JAX does not pickle
            return f"{device.platform}:{device.id}"
        return device


class ShareOfMany:
    """Makes global arrays; this process holds the rows that it loads.

    Parameters
    ----------
    sharding
        Sharding whose first axis is the rows; further axes apply to arrays that have them.
    """

    on_cpu = True  # batches are made dense on the host; each device then gets its rows

    def __init__(self, sharding: jax.sharding.NamedSharding) -> None:
        import jax

        if not isinstance(sharding, jax.sharding.NamedSharding) or not len(sharding.spec):
            raise TypeError(
                "`sharding` must be a jax.sharding.NamedSharding whose spec names the rows' axis first, as "
                f"NamedSharding(mesh, PartitionSpec('rows')) does, got {sharding!r}."
            )
        self._sharding = sharding
        axes = sharding.spec[0]
        names = () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)
        shards = 1
        for name in names:
            shards *= sharding.mesh.shape[name]
        self._rows_by = max(1, shards // jax.process_count())

    def put(self, arrays: tuple[np.ndarray, ...]) -> tuple[jax.Array, ...]:
        """Return global arrays, with the rows of all processes in order.

        Raises
        ------
        ValueError
            If the rows do not divide evenly over the devices of this process.
        """
        import jax

        put = []
        for array in arrays:
            if len(array) % self._rows_by:
                raise ValueError(
                    f"A batch must divide over the {self._rows_by} devices of this process, got {len(array)} rows: "
                    "make `batch_size` a multiple, and drop a shorter last batch (`drop_last=True`)."
                )
            spec = jax.sharding.PartitionSpec(*self._sharding.spec[: array.ndim])
            sharding = jax.sharding.NamedSharding(self._sharding.mesh, spec)
            put.append(jax.make_array_from_process_local_data(sharding, array))
        return tuple(put)

    def argument(self) -> Any:
        """Raise ``TypeError``: devices belong to a process."""
        raise TypeError("A JaxAdapter with `sharding` cannot be pickled: its mesh holds devices of this process.")


def _target(device: Any) -> Any:
    """Return the target for ``jax.device_put`` that ``device`` means."""
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
