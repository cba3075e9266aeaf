"""What is no store: states of loaders and mixes, splits, and the work folder of a conversion that was killed."""

from __future__ import annotations

import json
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from annbatch import DatasetCollection, Loader, mix
from annbatch.samplers import ClassSampler, DistributedSampler, RandomSampler, Split, split

from .mutate import mutate, mutate_value
from .victims import NotOpenedError, Victim, cells, damage_any, digest_of, loader

if TYPE_CHECKING:
    from collections.abc import Callable

_rows = np.arange(400, dtype=np.float32).reshape(200, 2)


def _plain_loader(ranks: int = 1) -> Loader:
    sampler: Any = RandomSampler(4, 8, 16, rng=np.random.default_rng(0))
    if ranks > 1:
        sampler = DistributedSampler(sampler, dist_info=lambda: (1, ranks))
    return Loader(batch_sampler=sampler, keys=("X",), prefetch=0).add_dataset(_rows)


def _class_loader() -> Loader:
    sampler = ClassSampler(4, 8, 16, classes=pd.Categorical(np.arange(200) % 7), num_samples=200, rng=0)
    return Loader(batch_sampler=sampler, keys=("X",), prefetch=0).add_dataset(_rows)


def _state(make_one: Callable[[], Any], dealt: bool = False) -> Victim:
    def make(folder: Path) -> None:
        one = make_one()
        batches = iter(one)
        next(batches)
        state = one.state_dict()
        if dealt:
            state["position"]["dealt"] = [[3, 1], [2, 1]]
        (folder / "state.json").write_text(json.dumps(state))

    def read(folder: Path, way: int) -> str:
        try:
            state = json.loads((folder / "state.json").read_bytes())
        except ValueError as error:
            raise NotOpenedError(str(error)) from error
        one = make_one()
        one.load_state_dict(state)
        assert isinstance(one.state_dict(), dict)
        for number, _ in enumerate(one):
            if number == 20:
                break
        return ""  # a position may be any other: what counts is that it is one

    def damage(folder: Path, rng: np.random.Generator) -> str:
        path = folder / "state.json"
        state = json.loads(path.read_bytes())
        what = mutate_value(state["position"] if rng.random() < 0.5 else state, rng)
        if dealt and rng.random() < 0.1:
            size, times = (int(10 ** rng.integers(6)) for _ in range(2))
            state["position"]["dealt"] = [[size, int(rng.integers(3))]] * times
            what = "dealt"
        path.write_text(json.dumps(state))
        return what

    return Victim(2, make, read, damage=damage)


def _split() -> Victim:
    def make(folder: Path) -> None:
        obs = pd.DataFrame({"donor": [f"donor{i % 10}" for i in range(200)]})
        split(obs, {"train": 0.8, "test": 0.2}, groupby="donor").save(folder / "split.json")

    def read(folder: Path, way: int) -> str:
        found = Split.load(folder / "split.json")
        obs = pd.DataFrame({"donor": [f"donor{i % 10}" for i in range(200)]})
        return repr([(name, np.asarray(rows).tolist()) for one in (found, found.of(obs)) for name, rows in one.items()])

    return Victim(2, make, read)


def _work() -> Victim:
    """A conversion that was killed after its first dataset: its work folder is damaged, and the call made again."""

    def convert() -> DatasetCollection:
        return DatasetCollection("store").add_adatas(
            ["in.h5ad"], rng=np.random.default_rng(0), memory_limit="1MB", dataset_size=12, progress=False
        )

    def make(folder: Path) -> None:
        import annbatch.collection._runs.build as build

        cells().write_h5ad(folder / "in.h5ad")
        write, n_written = build.write_dataset, [0]

        def killed(*arguments: Any) -> None:
            n_written[0] += 1
            if n_written[0] > 1:
                raise KeyboardInterrupt
            write(*arguments)

        build.write_dataset = killed
        try:
            with chdir(folder):
                convert()
        except KeyboardInterrupt:
            pass
        finally:
            build.write_dataset = write

    def read(folder: Path, way: int) -> str:
        with chdir(folder):
            return digest_of(loader(0).use_collection(convert()))

    def damage(folder: Path, rng: np.random.Generator) -> str:
        path = folder / "store/.annbatch-work/call.json"
        if rng.random() < 0.4:
            return f"call.json: {mutate(path, rng, [path])}"
        return damage_any(folder / "store", rng)

    return Victim(1, make, read, damage=damage)


def states() -> dict[str, Victim]:
    """Return these victims by name."""
    return {
        "state": _state(_plain_loader),
        "ranks": _state(lambda: _plain_loader(2), dealt=True),
        "classes": _state(_class_loader),
        "mix": _state(lambda: mix([_plain_loader(), _plain_loader()], [1, 2], seed=0)),
        "split": _split(),
        "work": _work(),
    }
