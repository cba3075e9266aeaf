"""Reading ahead: order, budget, errors, and ends of every kind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annbatch._loading.read_ahead import ReadAhead


@dataclass
class Plan:
    number: int
    nbytes: int = 10


@dataclass
class Window:
    """Records what is done to it; `fail` makes its reading fail."""

    number: int
    nbytes: int
    fail: bool = False
    cancelled: bool = False

    def wait(self) -> None:
        if self.fail:
            raise OSError(f"window {self.number} cannot be read")

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Reader:
    """Starts windows, and knows which."""

    fail_at: int = -1
    started: list[Window] = field(default_factory=list)

    def start(self, plan: Plan) -> Window:
        self.started.append(Window(plan.number, plan.nbytes, fail=plan.number == self.fail_at))
        return self.started[-1]


@pytest.fixture(scope="module")
def planner() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def settle(planner: ThreadPoolExecutor) -> None:
    """Wait until the planner has done everything that it was given."""
    planner.submit(int).result()


BUDGETS = [0, 1, 25, 1 << 40]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("n", [0, 1, 2, 17])
def test_every_window_comes_once_and_in_order(planner, budget, n):
    reader = Reader()
    windows = ReadAhead(map(Plan, range(n)), reader.start, planner=planner, budget=budget)
    assert [window.number for window in windows] == list(range(n))
    assert next(windows, None) is None  # and an end stays the end
    assert len(reader.started) == n


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 120))
def test_no_more_is_read_ahead_than_the_budget_or_one_window(sizes, budget):
    with ThreadPoolExecutor(1) as planner:
        reader = Reader()
        plans = [Plan(number, nbytes) for number, nbytes in enumerate(sizes)]
        for taken, _ in enumerate(ReadAhead(iter(plans), reader.start, planner=planner, budget=budget), start=1):
            settle(planner)
            ahead = [window.nbytes for window in reader.started[taken:]]
            assert len(ahead) <= 1 or sum(ahead) <= budget
            if taken < len(sizes):
                assert ahead, "one is read ahead, whatever its size"
                rest = sizes[taken + len(ahead) :]
                assert not rest or sum(ahead) + rest[0] > budget, "there was room for another"


def test_without_a_budget_nothing_is_read_ahead(planner):
    reader = Reader()
    for taken, _ in enumerate(ReadAhead(map(Plan, range(5)), reader.start, planner=planner, budget=0), start=1):
        settle(planner)
        assert len(reader.started) == taken


def failing_plans(good: int) -> Iterator[Plan]:
    yield from map(Plan, range(good))
    raise KeyError("the sampler's own")


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("good", [0, 1, 3])
def test_an_error_in_planning_reaches_the_consumer_after_the_good_windows(planner, budget, good):
    windows = ReadAhead(failing_plans(good), Reader().start, planner=planner, budget=budget)
    assert [next(windows).number for _ in range(good)] == list(range(good))
    with pytest.raises(KeyError, match="the sampler's own"):
        next(windows)


@pytest.mark.parametrize("budget", BUDGETS)
def test_an_error_in_starting_reaches_the_consumer(planner, budget):
    def start(plan: Plan) -> Window:
        if plan.number == 2:
            raise MemoryError("no room")
        return Window(plan.number, plan.nbytes)

    windows = ReadAhead(map(Plan, range(9)), start, planner=planner, budget=budget)
    assert [next(windows).number for _ in range(2)] == [0, 1]
    with pytest.raises(MemoryError, match="no room"):
        next(windows)


@pytest.mark.parametrize("budget", BUDGETS)
def test_an_error_in_reading_reaches_the_consumer_at_its_window(planner, budget):
    windows = ReadAhead(map(Plan, range(9)), Reader(fail_at=2).start, planner=planner, budget=budget)
    assert [next(windows).number for _ in range(2)] == [0, 1]
    with pytest.raises(OSError, match="window 2 cannot be read"):
        next(windows)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_close_cancels_what_was_started_and_reaches_the_samplers_finally(planner, budget, taken):
    ended = threading.Event()

    def plans() -> Iterator[Plan]:
        try:
            yield from map(Plan, range(100_000))
        finally:
            ended.set()

    reader = Reader()
    windows = ReadAhead(plans(), reader.start, planner=planner, budget=min(budget, 50))
    for _ in range(taken):
        next(windows)
    windows.close()
    settle(planner)
    assert not taken or ended.is_set()
    assert len(reader.started) <= taken + 6
    assert all(window.cancelled for window in reader.started[taken:])
    with pytest.raises(RuntimeError, match="closed before its end"):
        next(windows)
    windows.close()  # a second time does nothing


@pytest.mark.parametrize("budget", BUDGETS)
def test_close_needs_no_executor(budget):
    planner = ThreadPoolExecutor(1)
    windows = ReadAhead(map(Plan, range(9)), Reader().start, planner=planner, budget=budget)
    next(windows)
    planner.shutdown()
    windows.close()


def test_close_in_another_thread_wakes_the_consumer(planner):
    resume = threading.Event()

    def plans() -> Iterator[Plan]:
        yield Plan(0)
        resume.wait(30)
        yield Plan(1)

    windows = ReadAhead(plans(), Reader().start, planner=planner, budget=100)
    next(windows)
    outcome = []

    def consume() -> None:
        try:
            outcome.append(next(windows))
        except RuntimeError as error:
            outcome.append(str(error))

    consumer = threading.Thread(target=consume)
    consumer.start()
    windows.close()
    consumer.join(30)
    resume.set()
    assert not consumer.is_alive()
    assert "closed before its end" in outcome[0]


def test_a_planner_is_shared_by_many_iterators_at_once(planner):
    many = [ReadAhead(map(Plan, range(20)), Reader().start, planner=planner, budget=30) for _ in range(5)]
    for number in range(20):
        assert [next(windows).number for windows in many] == [number] * 5


def test_an_abandoned_iterator_leaves_nothing_behind(planner):
    class Started(Window):
        pass

    windows = ReadAhead(
        map(Plan, range(100)), lambda plan: Started(plan.number, plan.nbytes), planner=planner, budget=50
    )
    next(windows)
    del windows
    settle(planner)
    gc.collect()
    # By type(): isinstance asks for __class__, which wakes deprecated proxies of torch where it was imported before.
    assert not [thing for thing in gc.get_objects() if issubclass(type(thing), Started | ReadAhead)]


def test_garbage_collected_inside_an_executor_does_not_deadlock(planner):
    # `submit` holds locks that cannot be taken twice while it makes objects, which may start the garbage collector,
    # which may close an iterator: closing must not submit.
    class Closer:
        def __init__(self, windows: ReadAhead[Plan, Window]) -> None:
            self.windows, self.cycle = windows, self

        def __del__(self) -> None:
            self.windows.close()

    finished = threading.Event()

    def work() -> None:
        windows = ReadAhead(map(Plan, range(9)), Reader().start, planner=planner, budget=50)
        next(windows)
        closer = Closer(windows)
        with planner._shutdown_lock:  # as inside `submit`
            del closer, windows
            gc.collect()
        finished.set()

    threading.Thread(target=work, daemon=True).start()
    assert finished.wait(30)
