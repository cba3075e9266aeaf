"""Where a loader stands, as a small JSON-able state, and the checks that one belongs to the loader that is given it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ._position import Position

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .abc import Sampler

FORMAT, VERSION = "annbatch.Loader", 1


class Progress:
    """Where a loader stands, and where its next iteration begins."""

    def __init__(self) -> None:
        self.position = Position()
        self._resumed = False

    def set_epoch(self, epoch: int) -> None:
        """Begin with this epoch; a position that was loaded stays if it is in it."""
        if epoch != self.position.epoch or not self._resumed:
            self.resume(Position(epoch), loaded=False)

    def resume(self, position: Position, *, loaded: bool = True) -> None:
        """Begin the next iteration there."""
        self.position, self._resumed = position, loaded

    def begin(self, *, ranks: int, workers: int) -> Position:
        """Return where an iteration by so many ranks and workers begins; the one after it begins its epoch anew."""
        start = self.position if self._resumed else Position(self.position.epoch)
        self.resume(start.taken_up_by(ranks, workers), loaded=False)
        return self.position

    def step(self, position: Position) -> Position:
        """Book a batch that follows ``position``; return what comes after it."""
        self.position = replace(position, steps=position.steps + 1)
        return self.position

    def finish(self, position: Position) -> None:
        """Book the end of an epoch."""
        self.position = Position(position.epoch + 1)


def write_state(position: Position, sampler: Sampler, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state: where the loader stands, in which order of which rows.

    Parameters
    ----------
    position
        Where it stands.
    sampler
        Its sampler.
    data
        What must be equal for two loaders to have the same rows.
    """
    place = asdict(position) | {"dealt": [list(part) for part in position.dealt]}
    return {
        "format": FORMAT,
        "version": VERSION,
        "position": place,
        "sampler": sampler.identity(),
        "data": dict(data),
    }


def read_state(state: Mapping[str, Any], sampler: Sampler, data: Mapping[str, Any]) -> Position:
    """Return where a state says that a loader stood; the sampler takes over its seed where it was given none.

    Raises
    ------
    ValueError
        If it is no state, of a later version, or that of other rows or another sampler, with what differs.
    """
    if not hasattr(state, "get") or state.get("format") != FORMAT:
        raise ValueError(f"`state` must be what `state_dict` of a loader returned, got {_short(state)}.")
    if state["version"] != VERSION:
        raise ValueError(
            f"`state` must be of format version {VERSION}, which this annbatch reads, got version {state['version']}."
        )
    _check_same("rows", state["data"], data)
    own, said = sampler.identity(), dict(state["sampler"])
    takes_seed = {"seed"} <= own.keys() & said.keys() and not sampler._seed_is_given
    if takes_seed:
        own["seed"] = said["seed"]
    _check_same("sampler", said, own)
    place = dict(state["position"])
    dealt = tuple((int(ranks), int(steps)) for ranks, steps in place.pop("dealt"))
    position = Position(dealt=dealt, **{name: int(value) for name, value in place.items()})
    position.taken_up_by(sampler._n_ranks, position.workers)
    if takes_seed:
        sampler._take_seed(said["seed"])
    return position


def _check_same(what: str, said: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    names = [name for name in {**said, **own} if said.get(name) != own.get(name)]
    if names:
        differences = "; ".join(f"{name} was {said.get(name)!r} and is {own.get(name)!r}" for name in names)
        raise ValueError(f"`state` must be of the same {what} as this loader: {differences}.")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."
