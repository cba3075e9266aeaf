"""Few open files: the default of macOS, and more cores than files."""

from __future__ import annotations

import pytest

from annbatch._runtime import open_files


@pytest.mark.parametrize(("limit", "cores"), [(256, 2), (256, 16), (256, 64), (1024, 16), (1 << 20, 4), (-1, 4)])
def test_half_of_the_limit_is_left_for_others_unless_there_are_more_cores(limit, cores, monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (limit, limit))
    monkeypatch.setattr(open_files, "usable_cores", lambda: cores)
    counted = 1024 if limit < 0 else min(limit, 1024)
    assert open_files.most_kept_open() == counted // 4
    assert 2 * cores * open_files.most_per_read() <= max(counted // 3, 2 * cores)
