"""Damages files: their bytes, the structure of JSON, checksums that match again afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    127,
    255,
    256,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32,
    2**40,
    2**53,
    2**63 - 1,
    2**63,
    -(2**63),
)
VALUES = (*NUMBERS, None, True, False, 0.5, float("nan"), float("inf"), 1e300, "", "a", "0", "../..", "/etc/passwd")
VALUES = (
    *VALUES,
    "\x00",
    "é" * 200,
    "int8",
    "float64",
    "|O",
    "<u2",
    "default",
    "blosc",
    [],
    {},
    [0],
    [[]],
    {"a": 1},
    [1] * 9,
)
ENDINGS = (".json", ".zarray", ".zattrs", ".zgroup", ".zmetadata", ".index")


def mutate(path: Path, rng: np.random.Generator, others: list[Path]) -> str:
    """Damage a file in place and return what was done."""
    data = path.read_bytes()
    if path.name.endswith(ENDINGS) and rng.random() < 0.7:
        content = json.loads(data)
        what = _mutate_json(content, rng)
        if rng.random() < 0.5:
            what += _seal(content)
        path.write_text(json.dumps(content))
        return what
    roll = rng.random()
    if roll < 0.03:
        path.unlink()
        return "removed"
    if roll < 0.08:
        path.write_bytes(others[rng.integers(len(others))].read_bytes())
        return "replaced by another"
    shard = _mutate_index(data, rng) if rng.random() < 0.5 else None
    if shard is not None:
        path.write_bytes(shard)
        return "index of the shard, sealed"
    mutated, what = mutate_bytes(data, rng)
    path.write_bytes(mutated)
    return what


def mutate_bytes(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Return damaged bytes and what was done."""
    out = bytearray(data)
    size = len(out)
    # Headers and ends hold what readers believe; the rest is mostly values.
    at = int(rng.integers(max(1, size)))
    if rng.random() < 0.4:
        at = int(rng.integers(max(1, min(size, 64))))
    length = int(rng.integers(1, 1 + min(64, max(1, size - at))))
    kind = int(rng.integers(9))
    if kind == 0 and size:
        for _ in range(int(rng.integers(1, 9))):
            out[int(rng.integers(size))] ^= 1 << int(rng.integers(8))
        return bytes(out), "bits"
    if kind == 1 and size:
        out[at] = int(rng.integers(256))
        return bytes(out), f"byte {at}"
    if kind == 2:
        return bytes(out[:at]), f"cut at {at}"
    if kind == 3:
        return bytes(out) + rng.bytes(length), "extended"
    if kind == 4:
        out[at : at + length] = rng.bytes(length)
        return bytes(out), f"random {at}+{length}"
    if kind == 5:
        del out[at : at + length]
        return bytes(out), f"deleted {at}+{length}"
    if kind == 6:
        out[at:at] = rng.bytes(length)
        return bytes(out), f"inserted {at}+{length}"
    if kind == 7:
        out[at : at + length] = bytes([0 if rng.random() < 0.5 else 255]) * length
        return bytes(out), f"filled {at}+{length}"
    width = int(rng.choice([2, 4, 8]))
    at -= at % width
    number = NUMBERS[int(rng.integers(len(NUMBERS)))] % (1 << 8 * width)
    out[at : at + width] = number.to_bytes(width, "little" if rng.random() < 0.8 else "big")
    return bytes(out), f"number {number} at {at}"


def _mutate_json(content: Any, rng: np.random.Generator) -> str:
    """Change a few values of JSON in place."""
    done = []
    for _ in range(1 if rng.random() < 0.8 else 3):
        places = list(_places(content, ()))
        if not places:
            return "nothing"
        holder, key, path = places[int(rng.integers(len(places)))]
        value = holder[key]
        roll = rng.random()
        if roll < 0.15 and isinstance(holder, dict):
            del holder[key]
        elif roll < 0.2 and isinstance(holder, list):
            holder.append(value)
        elif roll < 0.45 and isinstance(value, int):
            holder[key] = int(value) + int(rng.integers(-3, 4)) if rng.random() < 0.5 else _number(rng)
        elif roll < 0.55 and isinstance(value, int | float):
            holder[key] = value * int(rng.choice([-1, 2, 1000, 10**6, 10**9]))
        elif roll < 0.6 and isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
        else:
            holder[key] = VALUES[int(rng.integers(len(VALUES)))]
        done.append("/".join(map(str, path)))
    return f"JSON {', '.join(done)}"


def _number(rng: np.random.Generator) -> int:
    return NUMBERS[int(rng.integers(len(NUMBERS)))]


def mutate_value(content: Any, rng: np.random.Generator) -> str:
    """Change a few values of an object that JSON can hold, in place."""
    return _mutate_json(content, rng)


def _places(content: Any, path: tuple[Any, ...]) -> Any:
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in entries:
        yield content, key, (*path, key)
        yield from _places(value, (*path, key))


def _seal(content: Any) -> str:
    """Make the checksum of a manifest, or of references, match again, as whoever damages one on purpose would."""
    from annbatch.collection._state.attached import _checksum
    from annbatch.collection._state.manifest import manifest_checksum

    try:
        if "stores" in content:
            content["crc32c"] = _checksum(content["stores"])
            return ", sealed"
        content["attributes"]["annbatch"]["crc32c"] = manifest_checksum(content)
    except (LookupError, TypeError, AttributeError, ValueError):
        return ""
    return ", sealed"


def _mutate_index(data: bytes, rng: np.random.Generator) -> bytes | None:
    """Damage the index of a shard, if there is one at the end, and make its checksum match again."""
    for n_chunks in range(1, min(600, (len(data) - 4) // 16 + 1)):
        raw = data[-4 - 16 * n_chunks : -4]
        if google_crc32c.value(raw) == int.from_bytes(data[-4:], "little"):
            break
    else:
        return None
    index = np.frombuffer(raw, "<u8").copy()
    at, number = int(rng.integers(len(index))), NUMBERS[int(rng.integers(len(NUMBERS)))] % 2**64
    if rng.random() < 0.5:
        number = (int(index[at]) + int(rng.integers(-20, 21))) % 2**64
    elif rng.random() < 0.5:
        number = int(index[int(rng.integers(len(index)))])
    index[at] = np.uint64(number)
    return data[: -len(raw) - 4] + index.tobytes() + int(google_crc32c.value(index.tobytes())).to_bytes(4, "little")
