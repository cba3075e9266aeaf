"""Transient faults of networks and services are retried; permanent ones are errors that name what, where and why."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import traceback

import pytest
import zarr

from annbatch import DatasetCollection, RemoteStore
from annbatch._remote.faults import Fault, fault_of
from annbatch._remote.fetch import RetryPolicy
from annbatch.errors import CorruptDataError, RemoteError

PATIENT = {"timeout": 0.5, "deadline": 60.0}
FOR_EVER = {"timeout": 3600.0, "deadline": 3600.0}
HASTY = RetryPolicy(timeout=0.2, deadline=0.4)


def opened(load, **limits):
    """Return a loader of the compact collection in the bucket, and its store."""
    loader = load(RemoteStore("s3://bucket/compact", **limits))
    (store,) = [own for _, own in loader._remote._stores]
    return loader, store


@pytest.mark.parametrize("kind", ["stall", "reset", "truncate", "slow", "503"])
def test_a_fault_of_each_kind_is_retried(stored, proxy, proxies, load, same_batches, kind):
    stored("compact")
    loader, _ = opened(load, **PATIENT)
    proxy.choose = proxies.faults(0.05, 0, (kind,))

    with loader, load(stored("compact")) as local:
        same_batches(loader, local)
    assert any(seen.fault == kind for seen in proxy.seen)


def test_an_epoch_under_faults_delivers_exactly_the_rows_of_an_undisturbed_one(
    stored, proxy, proxies, load, same_batches
):
    stored("compact")
    loader, _ = opened(load, **PATIENT)
    proxy.choose = proxies.faults(0.05, 1)
    proxy.seen.clear()

    with loader, load(stored("compact")) as local:
        for _ in range(2):
            same_batches(loader, local)
    met = [seen.fault for seen in proxy.seen if seen.fault]
    assert len(met) >= len(proxy.seen) / 50
    assert set(met) == set(proxies.FAULTS)


def test_a_server_that_is_gone_is_an_error_within_the_deadline_and_the_loader_reads_on_when_it_is_back(
    stored, proxy, load, same_batches
):
    stored("compact")
    loader, store = opened(load, **PATIENT)
    with loader, load(stored("compact")) as local:
        same_batches(loader, local)
        proxy.stop()
        patient, store._policy = store._policy, HASTY  # not earlier: a busy machine needs longer for the first pass
        with pytest.raises(RemoteError, match=r"within the deadline of 0\.4 s.*connection was refused") as error:
            for _ in loader:
                pass
        assert "s3://bucket/compact/dataset_" in str(error.value)
        proxy.start()
        store._policy = patient
        for one in (loader, local):
            one.set_epoch(1)
        same_batches(loader, local)


def test_a_server_that_only_stalls_is_an_error_within_the_deadline(stored, proxy, load):
    stored("compact")
    loader, store = opened(load, **PATIENT)
    proxy.choose = lambda seen: "stall"
    store._policy = HASTY

    with loader, pytest.raises(RemoteError, match=r"within the deadline of 0\.4 s.*request timed out"):
        for _ in loader:
            pass


@pytest.mark.parametrize(("status", "reason"), [("403", "access was denied"), ("401", "not accepted")])
def test_permanent_faults_are_not_retried(stored, proxy, load, status, reason):
    stored("compact")
    loader, _ = opened(load, **PATIENT)
    proxy.choose = lambda seen: status if "/X/data/c/" in seen.path else ""
    proxy.seen.clear()

    with loader, pytest.raises(RemoteError, match=reason) as error:
        for _ in loader:
            pass

    assert "s3://bucket/compact/dataset_" in str(error.value)
    refused = [seen.path for seen in proxy.seen if seen.fault]
    assert len(refused) == len(set(refused))


def test_an_error_names_object_bytes_chunk_and_array(stored, proxy, load):
    stored("compact")
    loader, _ = opened(load, **PATIENT)
    proxy.choose = lambda seen: "403" if "/X/data/c/" in seen.path and not seen.range.startswith("bytes=-") else ""

    where = (
        r"bytes \d+\.\.\d+ of s3://bucket/compact/dataset_\d/X/data/c/\d+ \(chunks? [\d.]+ of array s3://.*/X/data\)"
    )
    with loader, pytest.raises(RemoteError, match=where):
        for _ in loader:
            pass


def test_a_missing_shard_of_a_complete_array_is_damage(stored, proxy, load):
    stored("compact")
    loader, _ = opened(load, **PATIENT)
    proxy.choose = lambda seen: "404" if "dataset_1/X/data/c/0" in seen.path else ""

    with loader, pytest.raises(CorruptDataError, match=r"s3://bucket/compact/dataset_1/X/data/c/0 is missing"):
        for _ in loader:
            pass


def test_an_object_that_was_replaced_while_open_is_refused(environment, load):
    import numpy as np

    from annbatch import Loader

    def write(value):
        group = zarr.open_group(RemoteStore("s3://bucket/replaced"), mode="a")
        array = group.require_array(
            "X", shape=(500, 10), dtype="f4", chunks=(10, 10), shards=(500, 10), compressors=None
        )
        array[:] = np.full((500, 10), value, dtype="f4") + np.arange(500, dtype="f4")[:, None]
        return array

    with Loader(batch_size=50, chunk_size=5, preload_nchunks=20, shuffle=True).add_dataset(write(0)) as loader:
        for _ in loader:
            pass
        write(1)
        with pytest.raises(CorruptDataError, match=r"s3://bucket/replaced/X/c/0/0 was replaced"):
            for _ in loader:
                pass
        assert sum(float(batch["X"].sum()) for batch in loader) == 500 * 10 + sum(range(500)) * 10


def test_a_name_that_no_host_has_is_an_error_at_once(environment, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://no-such-host.invalid")

    with pytest.raises(RemoteError, match=r"s3://bucket/compact.*host is unknown or unreachable"):
        DatasetCollection("s3://bucket/compact", mode="r")


def test_stopping_cancels_the_requests_under_way(stored, proxy, load, same_batches):
    stored("compact")
    loader, store = opened(load, **FOR_EVER, requests=8)
    loader._prefetch = 1  # one window ahead, which is requested when the one before it is taken
    with loader, load(stored("compact")) as local:
        batches = iter(loader)
        next(batches)
        wait_until(lambda: has_read_ahead(loader))
        proxy.choose = lambda seen: "stall"
        for _ in range(5):  # the rest of the first window, and the first batch of the second
            next(batches)
        wait_until(lambda: any(seen.fault for seen in proxy.seen))
        batches.close()
        wait_until(lambda: not store.requests.busy)  # they would stall for an hour
        proxy.choose = lambda seen: ""
        loader.set_epoch(0)
        same_batches(loader, local)


def has_read_ahead(loader):
    (windows,) = loader._reading._open
    return windows._ahead and all(future.done() for future in windows._ahead[0]._futures())


def wait_until(condition):
    while not condition():
        time.sleep(0.005)


def test_closing_ends_a_wait_in_another_thread(stored, proxy, load):
    stored("compact")
    loader, store = opened(load, **FOR_EVER)
    proxy.choose = lambda seen: "stall" if "/c/" in seen.path else ""
    raised: list[BaseException] = []

    def consume():
        try:
            for _ in loader:
                pass
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=consume)
    thread.start()
    wait_until(lambda: any(seen.fault for seen in proxy.seen))
    loader.close()
    thread.join()  # they would stall for an hour
    assert isinstance(raised[0], RuntimeError)
    assert not store.requests.busy


_ITERATE = """
import os, sys, threading, time, warnings
from annbatch import DatasetCollection, Loader, RemoteStore
import zarr

store = RemoteStore("s3://bucket/compact", timeout=3600, deadline=3600, read_only=True)
sizes = {"batch_size": 8, "chunk_size": 8, "preload_nchunks": 4}
loader = Loader(**sizes).use_collection(DatasetCollection(zarr.open_group(store, mode="r"), mode="r"))
thread = threading.Thread(target=lambda: list(loader), daemon=True)
thread.start()
while not any(own.requests.busy for _, own in loader._remote._stores):
    time.sleep(0.01)
if sys.argv[1] == "fork":
    warnings.simplefilter("ignore")  # of a fork beside threads
    if (child := os.fork()) == 0:
        try:
            list(Loader(**sizes).use_collection(DatasetCollection("s3://bucket/compact", mode="r")))
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("what", ["end", "fork"])
def test_a_process_ends_or_forks_while_requests_stall(stored, proxy, what):
    stored("compact")
    proxy.choose = lambda seen: "stall" if "/X/" in seen.path and "/c/" in seen.path else ""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _ITERATE, what]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)  # not an hour
    assert done.returncode == 0, done.stderr
    assert ("obstore was used in process" in done.stdout) == (what == "fork")


def test_credentials_appear_in_no_text(stored, proxy, load, secret, caplog, capfd):
    stored("compact")
    caplog.set_level("DEBUG")
    loader, store = opened(load)
    texts = [repr(loader), str(loader), repr(store), repr(DatasetCollection("s3://bucket/compact"))]
    with loader:
        for _ in loader:
            pass
        texts.append(repr(loader.stats))
    loader, store = opened(load, **PATIENT)
    store._policy = HASTY
    with loader:
        for fault in ("403", "stall", "503", "reset", "404"):
            proxy.choose = lambda seen, fault=fault: fault
            with pytest.raises(OSError, match="s3://bucket/compact") as error:
                for _ in loader:
                    pass
            texts += traceback.format_exception(error.value)
    said = capfd.readouterr()
    texts += [caplog.text, said.out, said.err]
    assert "dataset_" in "".join(texts)
    assert secret not in "".join(texts)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("... status code: 503 Slow Down", Fault("the server answered 503", True)),
        ("... status code: 429", Fault("the server answered 429", True)),
        ("... status code: 416 Range", Fault("the server answered 416", False)),
        ("... http://169.254.169.254/latest", Fault("no credentials were found where obstore looks for them", False)),
        ("Connection reset by peer", Fault("the connection was reset", True)),
        ("something new", Fault("the connection failed", True)),
    ],
)
def test_messages_are_understood(text, fault):
    assert fault_of(Exception(text)) == fault


def test_errors_of_a_web_server_do_not_show_the_password_in_its_url():
    store = RemoteStore("http://me:a-secret@127.0.0.1:9/cells?signature=a-secret", deadline=0.1)

    with pytest.raises(RemoteError, match=r"http://127\.0\.0\.1:9/cells") as error:
        zarr.open_group(store, mode="r")

    assert "a-secret" not in "".join(traceback.format_exception(error.value))
    assert "a-secret" not in repr(store)
