"""Of the two arrays that are read together, an error names the damaged one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

from annbatch import Loader
from annbatch.errors import CorruptDataError


@pytest.mark.parametrize("damaged", ["data", "indices"])
@pytest.mark.parametrize("options", [{"densify": True}, {"var_names": ["1", "0"]}], ids=["dense", "selected"])
def test_the_damaged_array_is_named(tmp_path: Path, damaged: str, options: dict[str, object]) -> None:
    x = sp.csr_matrix(np.arange(1, 61, dtype="float32").reshape(20, 3))
    csr = zarr.open_group(tmp_path, mode="w").create_group(
        "X", attributes={"encoding-type": "csr_matrix", "shape": list(x.shape)}
    )
    for name in ("data", "indices", "indptr"):
        csr.create_array(name, data=getattr(x, name), chunks=(16,), compressors=None)
    chunk = tmp_path / "X" / damaged / "c" / "2"
    chunk.write_bytes(chunk.read_bytes()[:-4])

    loader = Loader(batch_size=20, chunk_size=20, preload_nchunks=1, **options)
    loader.add_dataset(csr, var=pd.DataFrame(index=["0", "1", "2"]))
    with pytest.raises(CorruptDataError, match=rf"{chunk} does not hold the .*: chunk 2 of array .*{damaged}"):
        list(loader)
