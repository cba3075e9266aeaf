"""What one pass of a sampler runs on: a copy of it, in which everything random is decided by seed and epoch.

Passes that are open at the same time do not disturb each other, and one that is left leaves nothing behind.
"""

from __future__ import annotations

import zlib
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .abc import Sampler

_ATTRIBUTES, _WINDOWS, _SAMPLERS = 0, 1, 2  # what a keyed generator is for
_OWN = frozenset({"_pass_rng"})  # the base class's note of which generator the seed is from


def keyed_rng(seed: int, *key: int) -> np.random.Generator:
    """Return the generator that belongs to a seed and a place in the run, independent of all others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def window_rng(seed: int, epoch: int, window: int) -> np.random.Generator:
    """Return what shuffles the rows of a window that a sampler leaves to the base class."""
    return keyed_rng(seed, epoch, _WINDOWS, window)


def seed_of(sampler: Sampler) -> tuple[int, bool]:
    """Return the seed of everything random in a sampler, and whether it was given.

    Each generator that the sampler holds is asked for one integer, and each sampler within it for its seed; those
    without one say nothing. Where nobody says anything, the seed is from the system.
    """
    seeds = []
    for source in {id(source): source for _, source in _sources(sampler)}.values():
        if isinstance(source, np.random.Generator):
            seeds.append(int(source.integers(2**63)))
        elif isinstance(source, np.random.RandomState):
            seeds.append(int(source.randint(2**63, dtype=np.int64)))
        else:
            seed = source._draw_seed()
            seeds += [seed] * source._seed_is_given
    held = {id(source) for _, source in _sources(sampler)}
    if isinstance(sampler.rng, np.random.Generator) and id(sampler.rng) not in held and sampler.rng is sampler.rng:
        raise ValueError(
            f"`rng` of {type(sampler).__name__} must be an attribute of the sampler, so that a pass can begin with one "
            f"that seed and epoch decide; got a generator that is kept elsewhere."
        )
    if not seeds:
        return int(np.random.default_rng().integers(2**63)), False
    return (seeds[0] if len(seeds) == 1 else int(keyed_rng(0, *seeds).integers(2**63))), True


def samplers_in(sampler: Sampler) -> dict[str, Sampler]:
    """Return the samplers that another one holds, by the names of its attributes."""
    return {name: source for name, source in _sources(sampler) if _is_sampler(source)}


def pass_of(sampler: Sampler, epoch: int, seed: int | None = None) -> Sampler:
    """Return the copy of a sampler that makes the requests of an epoch.

    Its generators, attributes or in a list, tuple or dict that is one, are new ones that seed, epoch and the
    attribute's name decide. So are those of the samplers in it, which are at the same epoch.

    Parameters
    ----------
    sampler
        Stays as it is.
    epoch
        Which one.
    seed
        In place of the sampler's own.
    """
    one = copy(sampler)
    if seed is None:
        seed = sampler._draw_seed()
    made: dict[int, Any] = {}
    for name, source in _sources(sampler):
        if id(source) not in made:
            made[id(source)] = _renewed(source, seed, epoch, zlib.crc32(name.encode()))
    for name, value in _attributes(one):
        renewed = _replaced(value, made)
        if renewed is not value:
            vars(one)[name] = renewed
    one._seed, one._pass_rng = seed, one._rng
    one.set_epoch(epoch)
    return one


def _renewed(source: Any, seed: int, epoch: int, name: int) -> Any:
    if _is_sampler(source):
        own = source._draw_seed()
        derived = int(keyed_rng(seed, _SAMPLERS, name).integers(2**63))
        return pass_of(source, epoch, own if source._seed_is_given else derived)
    rng = keyed_rng(seed, epoch, _ATTRIBUTES, name)
    return np.random.RandomState(rng.bit_generator) if isinstance(source, np.random.RandomState) else rng


def _replaced(value: Any, made: dict[int, Any]) -> Any:
    if id(value) in made:
        return made[id(value)]
    if type(value) is dict and any(id(item) in made for item in value.values()):
        return {name: made.get(id(item), item) for name, item in value.items()}
    if type(value) in (list, tuple) and any(id(item) in made for item in value):
        return type(value)(made.get(id(item), item) for item in value)
    return value


def _attributes(sampler: Sampler) -> list[tuple[str, Any]]:
    """Return the attributes of a sampler, those of its class included."""
    of_classes = {name: value for kind in reversed(type(sampler).__mro__) for name, value in vars(kind).items()}
    return [(name, value) for name, value in {**of_classes, **vars(sampler)}.items() if name not in _OWN]


def _sources(sampler: Sampler) -> Iterator[tuple[str, Any]]:
    """Yield what a sampler draws from, with its name."""
    for name, value in _attributes(sampler):
        if _is_source(value):
            yield name, value
        elif type(value) is dict:
            yield from ((f"{name}[{key!r}]", item) for key, item in value.items() if _is_source(item))
        elif type(value) in (list, tuple):
            yield from ((f"{name}[{number}]", item) for number, item in enumerate(value) if _is_source(item))


def _is_source(value: object) -> bool:
    return isinstance(value, np.random.Generator | np.random.RandomState) or _is_sampler(value)


def _is_sampler(value: object) -> bool:
    from .abc import Sampler

    return isinstance(value, Sampler)
