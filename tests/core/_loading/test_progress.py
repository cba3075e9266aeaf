"""A loader that is given a state yields exactly the batches that were to come."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from annbatch import DatasetCollection, Loader, mix
from annbatch._loading.progress import Progress
from annbatch._plan.position import Position
from annbatch._plan.window_rows import plan_window
from annbatch.abc import Sampler
from annbatch.samplers import (
    ChunkSampler,
    ClassSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    WeightedClassSampler,
)

N_OBS = 50 * 12 - 3  # 50 windows of 12 rows, the last one short
ROWS = np.arange(N_OBS, dtype="f4")[:, None] * [1, 2]
CLASSES = pd.Categorical(np.random.default_rng(0).choice(["a", "b"], N_OBS))
WINDOWS = (3, 4, 4)

pytestmark = pytest.mark.filterwarnings("ignore:A batch of . rows instead of 4 is yielded")  # by the tests' sampler


class Old(Sampler):
    """As programs for 0.3 have them: draws as it goes, and leaves the splits to the loader."""

    batch_size = 4
    shuffle = True

    def __init__(self, rng):
        self.rng = rng

    def n_batches(self, n_obs):
        return sum(-(-min(12, n_obs - start) // 4) for start in range(0, n_obs, 12))

    def validate(self, n_obs):
        pass

    def _sample(self, n_obs):
        for start in range(0, n_obs, 12):
            yield {"requests": start + self.rng.permutation(min(12, n_obs - start))}


def ranks_of(sampler, rank=1, world_size=2, **settings_):
    return DistributedSampler(sampler, dist_info=lambda: (rank, world_size), **settings_)


CLASS = {"classes": CLASSES, "num_samples": N_OBS, "rng": 4}
SAMPLERS = {
    "random": lambda: RandomSampler(*WINDOWS, rng=4),
    "single rows": lambda: RandomSampler(1, 12, 4, rng=4, drop_last=True),
    "some rows": lambda: RandomSampler(*WINDOWS, rng=4, mask=np.arange(N_OBS) % 5 > 0),
    "replacement": lambda: RandomSampler(*WINDOWS, rng=4, replacement=True),
    "weights": lambda: RandomSampler(*WINDOWS, rng=4, weights=np.arange(N_OBS)),
    "sequential": lambda: SequentialSampler(*WINDOWS),
    "chunk": lambda: ChunkSampler(*WINDOWS, shuffle=True, rng=4),
    "class": lambda: ClassSampler(*WINDOWS, **CLASS),
    "weighted class": lambda: WeightedClassSampler(*WINDOWS, **CLASS),
    "rank": lambda: ranks_of(RandomSampler(*WINDOWS, rng=4)),
    "padded rank": lambda: ranks_of(RandomSampler(*WINDOWS, rng=4), remainder="pad"),
    "wrapped rank": lambda: ranks_of(SequentialSampler(*WINDOWS), world_size=7, remainder="wrap"),
    "custom": lambda: Old(np.random.default_rng(4)),
    "custom rank": lambda: ranks_of(Old(np.random.default_rng(4))),
}


def make_loader(sampler: Sampler, **settings_) -> Loader:
    return Loader(batch_sampler=sampler, return_index=True, **settings_).add_dataset(ROWS)


def sampled(sampler: Sampler, **where) -> list[bytes]:
    """Return the rows of every batch that a sampler asks for."""
    windows = [plan_window(request, N_OBS) for request in sampler.sample(N_OBS, **where)]
    return [w.rows[a:b].tobytes() for w in windows for a, b in pairwise(w.edges)]


def rows_of(batches) -> list[bytes]:
    """Return every bit of batches, checked against the rows that they say they hold."""
    found = []
    for batch in batches:
        np.testing.assert_array_equal(batch["X"], ROWS[batch["index"]])
        found.append(batch["index"].tobytes())
    return found


# Samplers with and without reading ahead in turn, and two of them with both.
PASSES = dict(zip(SAMPLERS, itertools.cycle([0, "1GB"]), strict=False)).items() | {("random", "1GB"), ("custom", "1GB")}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "prefetch"), sorted(PASSES, key=str))
def test_every_batch_of_an_epoch_is_one_to_go_on_from(name, prefetch):
    make = SAMPLERS[name]
    loader = make_loader(make(), prefetch=prefetch)
    states, undisturbed = [json.dumps(loader.state_dict())], []
    for batch in loader:
        undisturbed.append(batch)
        states.append(json.dumps(loader.state_dict()))
    undisturbed = rows_of(undisturbed)
    second = rows_of(loader)
    assert (second == undisturbed) == (name in ("sequential", "wrapped rank"))
    with make_loader(make(), prefetch=prefetch) as other:
        for taken, state in enumerate(states[:-1]):
            other.load_state_dict(json.loads(state))
            assert other.epoch == 0
            other.set_epoch(0)
            if taken % 10 < 9:  # to the end of the open window and beyond; the rest is then as from the tenth
                assert rows_of(islice(other, 5)) == undisturbed[taken : taken + 5]
            else:
                assert rows_of(other) == undisturbed[taken:]
                assert other.epoch == 1
                assert rows_of(islice(other, 1)) == second[:1]
                assert other.state_dict()["position"]["steps"] == 1
        other.load_state_dict(json.loads(states[-1]))
        assert rows_of(other) == second
    assert len(undisturbed) == len(loader) == len(states) - 1
    assert max(map(len, states)) < 2_000


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
def test_workers_go_on_from_every_batch(make):
    for worker in [(0, 2), (1, 2), (2, 3)]:
        where = {"position": Position(workers=worker[1]), "worker": worker}
        undisturbed = sampled(make(), **where)
        assert len(undisturbed) == make().n_remaining_batches(N_OBS, **where)
        for steps in range(len(undisturbed) + 1):
            where["position"] = Position(workers=worker[1], steps=steps)
            assert sampled(make(), **where) == undisturbed[steps:]


def test_states_follow_one_another():
    """A state of a loader that was itself resumed, into the next epoch, in a new loader each time."""
    undisturbed = make_loader(SAMPLERS["random"]())
    expected = rows_of(undisturbed) + rows_of(undisturbed) + rows_of(undisturbed)
    found, state = [], None
    while len(found) < len(expected):
        loader = make_loader(SAMPLERS["random"]())
        if state is not None:
            loader.load_state_dict(state)
        found += rows_of(islice(loader, 17))
        state = loader.state_dict()
    assert found[: len(expected)] == expected


def test_a_state_is_taken_up_once():
    loader = make_loader(SAMPLERS["random"]())
    epochs = [rows_of(loader) for _ in range(3)]
    loader.set_epoch(0)
    rows_of(islice(loader, 9))
    state = loader.state_dict()
    loader.load_state_dict(state)
    assert rows_of(islice(loader, 1)) == epochs[0][9:10]
    assert rows_of(islice(loader, 9)) == epochs[1][:9]  # the next epoch: what was left is not taken up again
    loader.load_state_dict(state)
    loader.set_epoch(2)
    assert rows_of(loader) == epochs[2]


def test_the_state_is_that_of_the_batch_that_came_last():
    loader = make_loader(SAMPLERS["random"]())
    assert loader.state_dict()["position"]["steps"] == 0
    one, other = iter(loader), iter(loader)
    next(one)
    next(one)
    assert loader.state_dict()["position"]["steps"] == 2
    next(other)
    assert loader.state_dict()["position"]["steps"] == 1
    loader.set_epoch(5)
    assert loader.state_dict()["position"] == {"epoch": 5, "dealt": [], "ranks": 1, "workers": 1, "steps": 0}


def test_only_the_open_window_is_read_again(tmp_path):
    array = zarr.create_array(tmp_path / "rows.zarr", shape=(4_000, 64), chunks=(10, 64), dtype="f4", compressors=None)
    array[:] = np.random.default_rng(0).random((4_000, 64))

    def make():
        loader = Loader(batch_size=20, chunk_size=10, preload_nchunks=10, shuffle=True, seed=0, prefetch=0)
        return loader.add_dataset(array)

    whole = make()
    list(whole)
    loader = make()
    for _ in islice(loader, 153):
        pass
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    next(iter(resumed))
    assert 0 < resumed.stats.bytes_read <= whole.stats.bytes_read / 40 * 1.2
    late = make()
    place = {"epoch": 6, "dealt": [], "ranks": 1, "workers": 1, "steps": 199}
    late.load_state_dict(loader.state_dict() | {"position": place})
    assert len(list(late)) == 1
    assert late.stats.bytes_read <= whole.stats.bytes_read / 40 * 1.2


@pytest.mark.parametrize("make", [SAMPLERS["random"], SAMPLERS["custom"]])
@settings(max_examples=6)
@given(data=st.data())
def test_other_ranks_go_on(make, data):
    """Through the loader's own states: as many ranks as drawn, each time from where all of them stand."""
    state, seen = None, []
    while state is None or state["position"]["epoch"] == 0:
        world_size = data.draw(st.sampled_from([1, 2, 3, 4, 8]))
        loaders = [make_loader(ranks_of(make(), rank, world_size), prefetch=0) for rank in range(world_size)]
        for loader in loaders:
            if state is not None:
                loader.load_state_dict(state)
        steps = data.draw(st.integers(10, 40))
        taken = [[batch["index"] for batch in islice(loader, steps)] for loader in loaders]
        assert len({len(batches) for batches in taken}) == 1
        seen += [row for batches in taken for batch in batches for row in batch.tolist()]
        states = {json.dumps(loader.state_dict()) for loader in loaders}
        assert len(states) == 1  # the same on every rank
        state = json.loads(states.pop())
        if not taken[0]:
            break
    assert len(set(seen)) == len(seen)
    assert len(seen) > N_OBS - 4 * 8 - 4


SCRIPT = """
import json, os, sys
import numpy as np
from annbatch import Loader
folder, kill_after = sys.argv[1], int(sys.argv[2])
rows = np.arange(597, dtype="f4")[:, None] * [1, 2]
loader = Loader(batch_size=4, chunk_size=3, preload_nchunks=4, shuffle=True, seed=4, return_index=True)
loader.add_dataset(rows)
state = os.path.join(folder, "state.json")
if os.path.exists(state):
    loader.load_state_dict(json.load(open(state)))
while loader.epoch < 2:
    for batch in loader:
        assert (batch["X"] == rows[batch["index"]]).all()
        with open(state + ".new", "w") as file:
            json.dump(loader.state_dict(), file)
        with open(os.path.join(folder, "seen"), "a") as file:
            file.write(json.dumps(batch["index"].tolist()) + "\\n")
        os.replace(state + ".new", state)
        kill_after -= 1
        if kill_after == 0:
            print("ready", flush=True)
            sys.stdin.read()
print("done", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_process_goes_on_where_it_saved(tmp_path):
    said = ""
    for kill_after in (37, 130, 0):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(kill_after)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            said = process.stdout.readline()
            if kill_after:
                os.kill(process.pid, signal.SIGKILL)
        assert said == ("ready\n" if kill_after else "done\n")
    loader = Loader(batch_size=4, chunk_size=3, preload_nchunks=4, shuffle=True, seed=4, return_index=True)
    loader.add_dataset(ROWS)
    expected = [batch["index"].tolist() for _ in range(2) for batch in loader]
    assert [json.loads(line) for line in Path(tmp_path, "seen").read_text().splitlines()] == expected


# What is refused ------------------------------------------------------------------------------------------------------


def state_of(loader: Loader, **changes) -> dict:
    return loader.state_dict() | changes


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (RandomSampler(3, 8, 4, rng=4), "preload_nchunks was 8 and is 4"),
        (RandomSampler(*WINDOWS, rng=5), r"seed was \d+ and is \d+"),
        (RandomSampler(*WINDOWS, rng=4, mask=slice(0, 9)), "mask was '0:9' and is '0:'"),
        (RandomSampler(*WINDOWS, rng=4, mask=np.arange(9) * 2), "mask was '[0-9a-f]{24}' and is '0:'"),
        (RandomSampler(*WINDOWS, rng=4, weights=np.ones(N_OBS)), "replacement was True and is False; weights was"),
        (SequentialSampler(*WINDOWS), "name was 'SequentialSampler' and is 'RandomSampler'; shuffle was False and is"),
        (ranks_of(RandomSampler(*WINDOWS, rng=4)), "remainder was 'drop' and is None"),
        (Old(np.random.default_rng(0)), "name was 'Old' and is 'RandomSampler'"),
    ],
)
def test_the_state_of_another_sampler_is_refused(other, message):
    loader = make_loader(SAMPLERS["random"]())
    with pytest.raises(
        ValueError, match=f"`state` must be of the {message}" if message.startswith("same") else message
    ):
        loader.load_state_dict(make_loader(other).state_dict())
    assert loader.epoch == 0


def test_the_state_of_other_rows_is_refused():
    state = make_loader(SAMPLERS["random"]()).state_dict()
    fewer = Loader(batch_sampler=SAMPLERS["random"]()).add_dataset(ROWS[:-1])
    with pytest.raises(ValueError, match="`state` must be of the same rows as this loader: n_obs was 597 and is 596"):
        fewer.load_state_dict(state)
    parts = Loader(batch_sampler=SAMPLERS["random"]()).add_datasets([ROWS[:7], ROWS[7:]])
    with pytest.raises(ValueError, match=r"same rows as this loader: datasets was '.*' and is '.*'"):
        parts.load_state_dict(state)


def test_the_state_of_another_collection_is_refused(tmp_path):
    import anndata as ad

    for name, seed in (("one", 0), ("other", 1)):
        x = np.random.default_rng(seed).poisson(1, (40, 3)).astype("f4")
        cells = ad.AnnData(x, obs=pd.DataFrame(index=[f"cell{i}" for i in range(40)]))
        cells.write_h5ad(tmp_path / f"{name}.h5ad")
        DatasetCollection(tmp_path / f"{name}.zarr").add_adatas([tmp_path / f"{name}.h5ad"], progress=False)

    def loader_of(path):
        return Loader(batch_size=4, chunk_size=4, preload_nchunks=2).use_collection(DatasetCollection(path, mode="r"))

    state = loader_of(tmp_path / "one.zarr").state_dict()
    with pytest.raises(ValueError, match=r"same rows as this loader: content was '.*' and is '.*'"):
        loader_of(tmp_path / "other.zarr").load_state_dict(state)
    (tmp_path / "one.zarr").rename(tmp_path / "moved.zarr")
    loader_of(tmp_path / "moved.zarr").load_state_dict(state)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "`state` must be what `state_dict` of a loader returned, got {}"),
        ("state.json", "`state` must be what `state_dict` of a loader returned, got 'state.json'"),
        ({"format": "torch", "x": "y" * 100}, r"must be what `state_dict` of a loader returned, got .*\.\.\."),
        ({"format": "annbatch.Loader", "version": 2}, "format version 1, which this annbatch reads, got version 2"),
        ({"data": 1}, "`state` must have a dict as `data`, got 1"),
        ({"sampler": 0.5}, "`state` must have a dict as `sampler`, got 0.5"),
        ({"sampler": ["seed"]}, r"`state` must have a dict as `sampler`, got \['seed'\]"),
    ],
)
def test_what_is_no_state_is_refused(state, message):
    loader = make_loader(SAMPLERS["random"]())
    if not {"data", "sampler"}.isdisjoint(state):
        state = loader.state_dict() | state
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(state)


@pytest.mark.parametrize("seed", [-1, 0.5, True, "1", None])
def test_no_seed_but_a_whole_number_is_taken_from_a_state(seed):
    def unseeded():
        return Loader(batch_sampler=RandomSampler(*WINDOWS)).add_dataset(ROWS)

    state = unseeded().state_dict()
    state["sampler"]["seed"] = seed
    with pytest.raises(ValueError, match=r"`state` must be of the same sampler .*: seed was"):
        unseeded().load_state_dict(state)


def test_a_loader_without_a_seed_takes_that_of_the_state():
    def unseeded():
        return Loader(batch_size=4, chunk_size=3, preload_nchunks=4, shuffle=True, return_index=True).add_dataset(ROWS)

    loader = unseeded()
    rows_of(islice(loader, 20))
    state = loader.state_dict()
    loader.set_epoch(0)
    expected = rows_of(loader)
    other = unseeded()
    assert rows_of(other) != expected
    other.load_state_dict(state)
    assert rows_of(other) == expected[20:]
    other.set_epoch(0)
    assert rows_of(other) == expected


def test_workers_go_on_as_many_as_they_were():
    position = Position(2, assigned=((3, 4),), ranks=3, workers=2, steps=5)
    assert position.resumed_by(3, 2) == position
    with pytest.raises(ValueError, match="`num_workers` must be 2 on 3 ranks, as when the state was"):
        position.resumed_by(3, 1)
    progress = Progress()
    progress.resume(Position(1, steps=7))
    assert progress.begin(ranks=1, workers=4).position == Position(1, assigned=((1, 7),), workers=4)


@pytest.mark.parametrize("dealt", [[[10**8, 1]], [[10**12, 1]] * 999])
def test_a_state_takes_no_memory_for_ranks_that_took_nothing(dealt):
    loader = make_loader(ranks_of(SAMPLERS["random"](), 0, 2))
    state = loader.state_dict()
    state["position"]["dealt"] = dealt
    tracemalloc.start()

    loader.load_state_dict(state)
    sum(1 for _ in loader)

    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_state_of_countless_parts_is_refused():
    loader = make_loader(SAMPLERS["random"]())
    state = loader.state_dict()
    state["position"]["dealt"] = [[2, 1]] * 100_000

    with pytest.raises(ValueError, match=r"`state` must have a position as `state_dict` writes it, got .*\.\.\."):
        loader.load_state_dict(state)


def _nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def _places(content, path=()):
    yield path
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield from _places(value, (*path, key)) if isinstance(value, dict | list) else [(*path, key)]


def _refusal(loader, state):
    """Return why a state is refused; "" if it is not."""
    try:
        loader.load_state_dict(state)
    except ValueError as error:
        return str(error)
    return ""


def _small():
    return Loader(batch_size=4, chunk_size=4, preload_nchunks=2, shuffle=True, seed=0).add_dataset(ROWS[:40])


@pytest.mark.parametrize("make", [_small, lambda: mix([_small(), _small()], [1, 2], seed=0)], ids=["loader", "mix"])
def test_absurd_values_in_states_are_refused_in_few_words(make):
    absurd = (_nested(10**5), "x" * 10**6, [0] * 10**6, {str(i): i for i in range(10**5)}, 10**5000, 10**400, np.inf)
    absurd += (pd.NA, np.int64(1), np.array(1))
    one = make()
    next(iter(one))
    whole = json.loads(json.dumps(one.state_dict()))
    for path in _places(whole):
        for value in absurd:
            state = {"": json.loads(json.dumps(whole))}
            held, key = state, ""
            for part in path:
                held, key = held[key], part
            held[key] = value
            other = make()
            said = _refusal(other, state[""])
            json.dumps(other.state_dict())
            assert not said or "`state`" in said, path
            assert len(said) < 8000, path
