"""Sizes in words."""

import pytest

from annbatch.collection._sizes import parse_size, rows_for, say_size


@pytest.mark.parametrize(
    ("size", "nbytes"),
    [
        ("1GB", 2**30),
        ("500MB", 500 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        ("7", 7),
        ("2k", 2048),
        ("3 bytes", 3),
        ("1tb", 2**40),
    ],
)
def test_parse(size: str, nbytes: int) -> None:
    assert parse_size(size, "shard_size") == nbytes


@pytest.mark.parametrize("size", ["", "GB", "-1GB", "1XB", "0", "0.1", "1 G B"])
def test_refuse(size: str) -> None:
    with pytest.raises(ValueError, match="`shard_size` must be a positive size such as '1GB' or '500MB', got "):
        parse_size(size, "shard_size")


def test_rows() -> None:
    assert rows_for(7, 100.0, "dataset_size") == 7
    assert rows_for("1kB", 100.0, "dataset_size") == 10
    assert rows_for("1kB", 10_000.0, "dataset_size") == 1
    assert rows_for("1kB", 0.0, "dataset_size") == 1024
    with pytest.raises(ValueError, match="`dataset_size` must be positive, got -1"):
        rows_for(-1, 1.0, "dataset_size")


@pytest.mark.parametrize(
    ("nbytes", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_340_000_000, "2.34 GB"), (5e13, "50 TB")]
)
def test_say(nbytes: float, text: str) -> None:
    assert say_size(nbytes) == text
