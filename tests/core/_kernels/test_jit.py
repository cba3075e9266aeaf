import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from annbatch._kernels import jit

CALLEE = """
from .jit import inner

@inner
def number():
    return {number}
"""
CALLER = """
import numpy as np
from .callee import number
from .jit import kernel

@kernel
def twice(n):
    if n < 0:
        raise IndexError("n")
    return 2 * number() + np.zeros(n).size  # in memory that numba manages
"""
PROGRAM = """
import sys
from kernels.caller import twice

print(twice(0), sum(twice.stats.cache_hits.values()), "numba.np.linalg" in sys.modules)
try:
    twice(-1)
except IndexError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_changed_function_is_compiled_into_its_callers_again_and_else_no_compiler_is_loaded(tmp_path: Path) -> None:
    package = tmp_path / "kernels"
    package.mkdir()
    shutil.copy(jit.__file__, package)
    (package / "__init__.py").touch()
    (package / "caller.py").write_text(CALLER)
    for number, from_cache in ((21, 0), (21, 1), (4, 0)):
        (package / "callee.py").write_text(CALLEE.format(number=number))
        done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [str(2 * number), str(from_cache), str(not from_cache), "n"]
