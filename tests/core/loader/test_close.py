"""Ends of every kind: of iterations, of threads, of the loader; and what an open iteration forbids."""

from __future__ import annotations

import gc
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .conftest import MATRIX, check_batch, order, small


class OurThreads:
    """The threads that loaders have started since this was made."""

    def __init__(self) -> None:
        self._before = set(threading.enumerate())

    def running(self) -> list[str]:
        new = set(threading.enumerate()) - self._before
        return [thread.name for thread in new if thread.name.startswith("annbatch")]

    def wait_until_gone(self) -> None:
        deadline = time.monotonic() + 60
        while self.running() and time.monotonic() < deadline:
            gc.collect()  # what a thread is at keeps references to the loader until it is done
            time.sleep(0.01)
        assert not self.running()


def test_close_stops_the_threads_and_the_loader_can_start_again():
    threads = OurThreads()
    loader = small(seed=0)
    first = order(loader)
    assert threads.running()
    loader.close()
    assert not threads.running()
    loader.close()
    loader.set_epoch(0)
    assert order(loader) == first


def test_the_context_manager_closes():
    threads = OurThreads()
    with small() as loader:
        batches = iter(loader)
        kept = next(batches)
    assert not threads.running()
    check_batch(kept, MATRIX)


@pytest.mark.parametrize("prefetch", [0, "1GB"])
def test_an_iterator_does_not_end_quietly_where_the_loader_was_closed(prefetch):
    loader = small(prefetch=prefetch, seed=0)
    batches = iter(loader)
    next(batches)
    loader.close()
    with pytest.raises(RuntimeError, match="The iterator was closed before its end"):
        list(batches)
    assert sorted(order(loader)) == list(range(203))


@pytest.mark.parametrize("prefetch", [0, "1GB"])
def test_close_on_another_thread_ends_an_iteration_with_an_error_of_ours(prefetch):
    loader = small(prefetch=prefetch, seed=0)
    done = threading.Event()

    def close() -> None:
        while not done.is_set():
            loader.close()

    closer = threading.Thread(target=close)
    closer.start()
    try:
        for _ in range(200):
            with suppress_closed():
                assert len(list(loader)) > 0
    finally:
        done.set()
        closer.join()
    loader.set_epoch(0)
    assert sorted(order(loader)) == list(range(203))


@contextmanager
def suppress_closed() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("The iterator was closed before its end"):
            raise


def test_breaking_out_leaves_nothing_running():
    loader = small()
    for _ in range(20):
        for _batch in loader:
            break
    batches = iter(loader)
    next(batches)
    del batches
    loader.add_dataset(MATRIX)  # so no iterator counts as open
    assert len(order(loader)) == 406


def test_threads_end_when_the_loader_is_garbage():
    threads = OurThreads()
    loader = small()
    batches = iter(loader)
    next(batches)
    assert threads.running()
    loader.itself = loader  # a cycle
    del loader, batches
    threads.wait_until_gone()


def test_datasets_cannot_be_added_while_iterating():
    loader = small()
    batches = iter(loader)
    next(batches)
    with pytest.raises(RuntimeError, match="Datasets cannot be added while the loader is being iterated"):
        loader.add_dataset(MATRIX)
    assert loader.n_obs == 203
    batches.close()
    assert loader.add_dataset(MATRIX).n_obs == 406


def test_a_loader_may_be_iterated_on_another_thread():
    loader, found = small(seed=0), []
    thread = threading.Thread(target=lambda: found.extend(order(loader)))
    thread.start()
    thread.join(60)
    assert found == order(small(seed=0))


def test_a_pickled_loader_yields_the_same():
    loader = small(seed=3)
    order(loader)
    batches = iter(loader)
    next(batches)
    twin = pickle.loads(pickle.dumps(loader))
    assert twin.epoch == 2
    assert order(twin) == [row for batch in loader for row in batch["index"].tolist()]
