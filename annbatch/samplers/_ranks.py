"""The rank and worker number of this process, as its launcher tells them."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from .._arguments import check_choice, in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    DistInfo = Literal["auto", "torch", "jax", "env"] | Callable[[], tuple[int, int]]

_VARIABLES = {
    "torchrun": ("RANK", "WORLD_SIZE"),
    "SLURM": ("SLURM_PROCID", "SLURM_NTASKS"),
    "Open MPI": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    "MPICH": ("PMI_RANK", "PMI_SIZE"),
    "MVAPICH": ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
}


def find_rank(dist_info: DistInfo) -> tuple[int, int]:
    """Return this process's rank and the number of ranks.

    Parameters
    ----------
    dist_info
        ``"auto"``, ``"torch"``, ``"jax"``, ``"env"``, or a callable that returns both.

    Raises
    ------
    RuntimeError
        If the framework is not initialized, no such variables are set, or only the number of ranks is.
    ValueError
        If ``dist_info`` is something else, or the rank is not below the number of ranks.
    """
    known = {"auto": _of_this_process, "torch": _of_torch, "jax": _of_jax, "env": _of_environment}
    if not callable(dist_info):
        check_choice("dist_info", dist_info, known, others=["a callable"])
    found = (dist_info if callable(dist_info) else known[dist_info])()
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise TypeError(f"`dist_info` must return a rank and the number of ranks, got {in_words(found)}.")
    rank, world_size = found
    if not 0 <= rank < world_size:
        raise ValueError(f"`dist_info` must give a rank in 0..world_size, got {rank} and {world_size}.")
    return int(rank), int(world_size)


def known_world_size() -> int:
    """Return the number of ranks, as far as this process can know it: 1 where nothing tells of more."""
    found = _of_framework() or _of_launcher()
    size = os.environ.get("WORLD_SIZE", "") if found is None else ""  # Lightning sets it without the rank
    return int(size) if size.isdecimal() else found[1] if found else 1


def _of_this_process() -> tuple[int, int]:
    found = _of_framework() or _of_launcher()
    if found is None and known_world_size() > 1:
        raise RuntimeError(
            f"`dist_info='auto'` needs the rank beside WORLD_SIZE={os.environ['WORLD_SIZE']}, got no RANK: join the "
            "processes first (`torch.distributed.init_process_group`, `jax.distributed.initialize`), or set RANK."
        )
    return found or (0, 1)


def _of_framework() -> tuple[int, int] | None:
    """Return what a framework says that is imported, and whose processes are joined."""
    torch, jax = (sys.modules.get(name) for name in ("torch.distributed", "jax"))
    if torch is not None and torch.is_available() and torch.is_initialized():
        return torch.get_rank(), torch.get_world_size()
    if jax is not None and hasattr(jax, "distributed") and jax.distributed.is_initialized():
        return jax.process_index(), jax.process_count()
    return None


def _of_launcher() -> tuple[int, int] | None:
    # A batch script has the variables of Slurm's tasks, but `srun` alone starts more than one.
    is_step = "SLURM_JOB_ID" not in os.environ or "SLURM_STEP_ID" in os.environ
    for by, (rank, size) in _VARIABLES.items():
        if rank in os.environ and size in os.environ and (by != "SLURM" or is_step or os.environ[rank] != "0"):
            try:
                return int(os.environ[rank]), int(os.environ[size])
            except ValueError as error:
                got = f"{os.environ[rank]!r} and {os.environ[size]!r}"
                raise RuntimeError(f"{rank} and {size} ({by}) must be integers, got {got}.") from error
    return None


def _of_torch() -> tuple[int, int]:
    distributed = import_module("torch.distributed")  # by name: the core imports no framework itself
    if not (distributed.is_available() and distributed.is_initialized()):
        raise RuntimeError(
            "`dist_info='torch'` needs its processes joined: call `torch.distributed.init_process_group` first."
        )
    return distributed.get_rank(), distributed.get_world_size()


def _of_jax() -> tuple[int, int]:
    jax = import_module("jax")
    if not jax.distributed.is_initialized():
        raise RuntimeError("`dist_info='jax'` needs JAX's processes joined: call `jax.distributed.initialize` first.")
    return jax.process_index(), jax.process_count()


def _of_environment() -> tuple[int, int]:
    found = _of_launcher()
    if found is None:
        pairs = "; ".join(f"{rank} and {size} ({by})" for by, (rank, size) in _VARIABLES.items())
        raise RuntimeError(f"`dist_info='env'` needs the variables of a launcher, got none of {pairs}.")
    return found


def worker_info() -> Any:
    """Return what PyTorch says of the worker of a ``DataLoader`` that this process is; None in other processes.

    A worker has imported ``torch.utils.data``, so that nothing needs to be imported to find out.
    """
    data = sys.modules.get("torch.utils.data")
    return None if data is None else data.get_worker_info()


def this_worker() -> tuple[int, int]:
    """Return the number of this worker of a ``DataLoader`` and the number of workers; ``(0, 1)`` in other processes."""
    worker = worker_info()
    return (0, 1) if worker is None else (worker.id, worker.num_workers)
