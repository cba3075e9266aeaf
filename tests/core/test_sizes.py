"""Sizes, parsed and formatted."""

import pytest

from annbatch._sizes import format_bytes, parse_size, rows_for


@pytest.mark.parametrize(
    ("size", "n_bytes"),
    [
        (0, 0),
        (7, 7),
        ("1GB", 10**9),
        ("500MB", 500 * 10**6),
        ("500MiB", 500 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        ("7", 7),
        ("2k", 2000),
        ("2Ki", 2048),
        ("3 bytes", 3),
        ("1tb", 10**12),
        ("1P", 10**15),
        ("1 gigabyte", 10**9),
        ("10 Kilobytes", 10**4),
        ("2 gibibytes", 2**31),
        ("1.5 mebibyte", 3 * 2**19),
    ],
)
def test_parse(size: int | str, n_bytes: int) -> None:
    assert parse_size(size, name="shard_size") == n_bytes


@pytest.mark.parametrize("size", ["", "GB", "-1GB", "1XB", "1 G B", "1iB", "1 megaB", "1 ibibytes"])
def test_an_invalid_size(size: str) -> None:
    with pytest.raises(ValueError, match="`shard_size` must be a size such as '512MB' or a number of bytes, got "):
        parse_size(size, name="shard_size")


@pytest.mark.parametrize(
    ("size", "least", "message"),
    [
        (-1, 0, "`n` must not be negative, got -1"),
        (0, 1, "`n` must be positive, got 0"),
        ("0.1", 1, "`n` must be positive, got '0.1'"),
    ],
)
def test_a_size_too_small(size: int | str, least: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_size(size, name="n", least=least)


def test_rows_for() -> None:
    assert rows_for(7, 100.0, name="dataset_size") == 7
    assert rows_for("1kB", 100.0, name="dataset_size") == 10
    assert rows_for("1kB", 10_000.0, name="dataset_size") == 1
    assert rows_for("1kB", 0.0, name="dataset_size") == 1000
    with pytest.raises(ValueError, match="`dataset_size` must be positive, got -1"):
        rows_for(-1, 1.0, name="dataset_size")


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_340_000_000, "2.3 GB"), (5e13, "50.0 TB")]
)
def test_format_bytes(n_bytes: float, text: str) -> None:
    assert format_bytes(n_bytes) == text
