"""Both writers write the same array, however it is cut into pieces."""

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, ZstdCodec

from annbatch._format.checksums import Checksums
from annbatch.collection._array_format import codecs_for
from annbatch.collection._resources.pages import RowMemory
from annbatch.collection._writing.arrays import ArrayForm, ArrayWriter, LocalWriter, ZarrWriter, encoder, grid


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@given(n=st.integers(0, 500), chunk=st.integers(1, 60), per_shard=st.integers(1, 9))
def test_grid(n: int, chunk: int, per_shard: int) -> None:
    inner, shard = grid(n, chunk, per_shard)
    assert 1 <= inner <= chunk
    assert shard % inner == 0
    assert shard // inner <= per_shard
    assert shard < max(1, n) + inner  # no longer than needed


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    n=st.integers(0, 300),
    chunk=st.integers(1, 40),
    per_shard=st.integers(1, 5),
    tail=st.sampled_from([(), (3,), (2, 2), (0,)]),
    dtype=st.sampled_from(["u1", "u2", "f4", "i8", "?"]),
    layout=st.sampled_from(["compact", "random_access", "zstd", "blosc"]),
    data=st.data(),
)
def test_the_array_is_the_pieces_joined(
    tmp_path_factory: pytest.TempPathFactory,
    pool: ThreadPoolExecutor,
    n: int,
    chunk: int,
    per_shard: int,
    tail: tuple[int, ...],
    dtype: str,
    layout: str,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("arrays")
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    kind = np.dtype(dtype)
    values = np.random.default_rng(n).integers(0, 200, (n, *tail)).astype(kind)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    checksums: dict[str, tuple[int, Checksums]] = {}
    compressors = {"zstd": [ZstdCodec(level=1)], "blosc": [BloscCodec(cname="zstd", shuffle="bitshuffle")]}.get(layout)
    codecs = codecs_for(kind, layout, compressors)
    encode = encoder(codecs, high=n % 2 == 0, memory=RowMemory())
    assert encode is not None
    forms = [ArrayForm(name, kind, tail, chunk, per_shard, codecs) for name in ("local", "zarr")]
    local = LocalWriter(group, folder, forms[0], encode, pool, checksums)
    through = ZarrWriter(group, forms[1])
    arrays: list[ArrayWriter] = [local, through]
    for array in arrays:
        for piece in np.split(values, cuts):
            array.append(piece)
        array.finish()
        array.close()
    for name in ("local", "zarr"):
        read = zarr.open_group(folder, mode="r")[name]
        assert isinstance(read, zarr.Array)
        assert read.dtype == kind
        assert read.shape == values.shape
        assert np.array_equal(np.asarray(read[...]), values)
    of_zarr, of_ours = group["zarr"], group["local"]
    assert isinstance(of_zarr, zarr.Array)
    assert isinstance(of_ours, zarr.Array)
    assert of_zarr.metadata.to_dict() | {"attributes": {}} == of_ours.metadata.to_dict() | {"attributes": {}}
    files = {str(path) for path in (folder / "local").rglob("*") if path.is_file() and path.name != "zarr.json"}
    assert files == set(checksums)
    for path, (size, found) in checksums.items():
        content = Path(path).read_bytes()
        assert (len(content), google_crc32c.value(content), zlib.crc32(content)) == (size, *found)
