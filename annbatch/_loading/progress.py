"""The position of a loader, saved as a small JSON-able state and checked when it is loaded."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from .._plan.position import Position

if TYPE_CHECKING:
    from ..samplers._base import Sampler

FORMAT, VERSION = "annbatch.Loader", 1

LARGEST = 2**63 - 1
"""The largest number in a position."""

_MOST_PARTS = 1000
"""Times that an epoch may be resumed on another number of ranks."""

_MOST_SHOWN = 10
"""Differences that an error tells."""


class Progress:
    """The position of a loader, and where its next iteration begins.

    Every iteration begins the epoch after that of the last one, whether or not that one was finished, unless another
    position is chosen.
    """

    def __init__(self) -> None:
        self.position = self._next = Position()
        self._chosen = 0

    @property
    def epoch(self) -> int:
        """Number of the next iteration's epoch."""
        return self._next.epoch

    def set_epoch(self, epoch: int) -> None:
        """Begin the next iteration with this epoch; a loaded position within it is kept."""
        if epoch != self.epoch or self._next == Position(epoch):
            self.resume(Position(epoch))

    def resume(self, position: Position) -> None:
        """Begin the next iteration at this position."""
        self.position = self._next = position
        self._chosen += 1

    def begin_anew(self) -> None:
        """Begin the next iteration at the first batch of its epoch; what open passes report is not recorded."""
        self.resume(Position(self.epoch))

    def begin(self, *, ranks: int, workers: int) -> Pass:
        """Return the pass that starts now."""
        self.position = self._next.resumed_by(ranks, workers)
        self._next = Position(self.position.epoch + 1)
        return Pass(self, self.position, self._chosen)

    def record(self, position: Position, chosen: int) -> None:
        """Record how far a pass has come, unless another position was chosen since it began."""
        if chosen == self._chosen:
            self.position = position


class Pass:
    """One iteration, which reports how far it has come."""

    def __init__(self, progress: Progress, position: Position, chosen: int) -> None:
        self.position = position
        self._progress = progress
        self._chosen = chosen

    def step(self) -> Position:
        """Record that a batch was taken; return the position after it."""
        self.position = replace(self.position, steps=self.position.steps + 1)
        self._progress.record(self.position, self._chosen)
        return self.position

    def finish(self) -> None:
        """Record the end of the epoch."""
        self._progress.record(Position(self.position.epoch + 1), self._chosen)


def write_state(position: Position, sampler: Sampler, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state: position, order and rows of a loader.

    Parameters
    ----------
    position
        Position of the loader.
    sampler
        Sampler of the loader.
    data
        Facts that are equal for two loaders of the same rows.
    """
    stored = asdict(position)
    stored["dealt"] = [list(part) for part in stored.pop("assigned")]  # its name in states of format version 1
    return {
        "format": FORMAT,
        "version": VERSION,
        "position": stored,
        "sampler": _identity(sampler, data),
        "data": dict(data),
    }


def read_state(state: Mapping[str, Any], sampler: Sampler, data: Mapping[str, Any]) -> Position:
    """Return the position in a state; a sampler that was given no seed takes over that of the state.

    Raises
    ------
    ValueError
        If it is not a state, or of a later version, other rows or another sampler; the message names the difference.
    """
    check_format(state, FORMAT, VERSION, ("position", "sampler", "data"), of="a loader")
    for part in ("data", "sampler"):
        if not isinstance(state[part], Mapping):
            raise ValueError(f"`state` must have a dict as `{part}`, got {shortened(state[part])}.")
    check_same("rows", state["data"], data)
    own, said = _identity(sampler, data), dict(state["sampler"])
    takes_seed = "seed" in own and not sampler.order_seed_is_given and is_seed(said.get("seed"))
    if takes_seed:
        own["seed"] = said["seed"]
    check_same("sampler", said, own)
    position = position_in(state["position"])
    position.resumed_by(sampler.n_ranks_of_epoch, position.workers)
    if takes_seed:
        sampler.take_order_seed(said["seed"])
    return position


def check_format(state: Any, name: str, version: int, parts: tuple[str, ...], *, of: str) -> None:
    """Raise ``ValueError`` unless a state has the name and version of a format, and all its parts."""
    if not hasattr(state, "get") or not _is_same(state.get("format"), name):
        raise ValueError(f"`state` must be what `state_dict` of {of} returned, got {shortened(state)}.")
    if not _is_same(state.get("version"), version):
        raise ValueError(
            f"`state` must be of format version {version}, which this annbatch reads, got version "
            f"{shortened(state.get('version'))}."
        )
    lacking = [part for part in parts if part not in state]
    if lacking:
        raise ValueError(f"`state` must have {', '.join(parts[:-1])} and {parts[-1]}, got no {', '.join(lacking)}.")


def is_seed(value: Any) -> bool:
    """Return whether a value of a state may be a seed."""
    return type(value) is int and value >= 0


def _identity(sampler: Sampler, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identity of a sampler, with its number of batches: a user's sampler may not describe itself fully."""
    n_obs = data["n_obs"]
    return sampler.identity() | ({"n_batches": int(sampler.n_batches_of_epoch(n_obs))} if n_obs else {})


def position_in(stored: Any) -> Position:
    """Return the position in a state."""
    try:
        fields = dict(stored)
        assigned = tuple((operator.index(ranks), operator.index(steps)) for ranks, steps in fields.pop("dealt"))
        # Of Python's own type, so that the next state is JSON-able, too.
        position = Position(**{name: operator.index(value) for name, value in fields.items()}, assigned=assigned)
        numbers = [position.epoch, position.steps, *(steps for _, steps in assigned)]
        readers = [position.ranks, position.workers, *(ranks for ranks, _ in assigned)]
        right = min(numbers) >= 0 and min(readers) >= 1
        right = right and len(assigned) <= _MOST_PARTS and max(*numbers, *readers) <= LARGEST
    except (KeyError, TypeError, ValueError, OverflowError):
        right = False
    if not right:
        raise ValueError(f"`state` must have a position as `state_dict` writes it, got {shortened(stored)}.")
    return position


def check_same(what: str, said: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` naming the differences between what a state says and what is here."""
    names = [name for name in {**said, **own} if not _is_same(said.get(name), own.get(name))]
    if names:
        shown = [
            f"{str(name)[:80]} was {shortened(said.get(name), 300)} and is {shortened(own.get(name), 300)}"
            for name in names[:_MOST_SHOWN]
        ]
        more = f"; and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        raise ValueError(f"`state` must be of the same {what} as this loader: {'; '.join(shown)}{more}.")


def _is_same(said: Any, own: Any) -> bool:
    try:
        return bool(said == own)
    except (RecursionError, TypeError, ValueError):  # of what no state holds, as NumPy's arrays
        return False


class _Short(reprlib.Repr):
    """Text of an object of any size or depth, made in little time and memory."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = 20
        self.maxstring = self.maxlong = self.maxother = 300

    def repr_dict(self, value: dict[Any, Any], level: int) -> str:
        """Return the text of a dict, in its own order."""
        shown = [
            f"{self.repr1(key, level - 1)}: {self.repr1(value[key], level - 1)}" for key in islice(value, level * 9)
        ]
        return "{" + ", ".join(shown) + (", ..." if len(value) > len(shown) else "") + "}"

    def repr_int(self, value: int, level: int) -> str:
        """Return the text of an integer, of which Python makes no more than 4,300 digits."""
        bits = value.bit_length()
        return super().repr_int(value, level) if bits < 1000 else f"an integer of {bits} bits"


_short = _Short()


def shortened(value: object, most: int = 80) -> str:
    """Return a value as text that fits into a message."""
    text = _short.repr(value)
    return text if len(text) < most else f"{text[: most - 3]}..."
