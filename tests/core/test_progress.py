"""Progress where standard error is no terminal, and what calls tell."""

from __future__ import annotations

import logging
import sys

from tqdm.auto import tqdm

from annbatch._progress import progress_bar, tell


class Terminal:
    """A standard error that is a terminal."""

    def __init__(self):
        self.written = ""

    def write(self, text):
        self.written += text

    def flush(self):
        pass

    def isatty(self):
        return True


def test_a_log_has_one_line_per_tenth(capsys):
    with progress_bar(total=1000, desc="Reading", unit=" rows") as bar:
        bar.mininterval = 0  # a line is due whenever a tenth is done
        for _ in range(1000):
            bar.update()
            tell("something", progress=True)

    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("%")[0] for line in lines] == [f"Reading: {10 * tenth:3}" for tenth in range(1, 11)]
    assert "1000/1000 [" in lines[-1]
    assert "\r" not in "".join(lines)


def test_work_that_is_quickly_done_has_one_line(capsys):
    with progress_bar(total=3, desc="Writing", unit=" files") as bar:
        bar.update(3)
    bar.close()

    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_bar_that_begins_again_counts_again(capsys):
    with progress_bar(total=10, desc="Reading", unit=" rows") as bar:
        bar.update(10)
        bar.reset()
        bar.update(10)

    assert capsys.readouterr().err.count("Reading: 100%") >= 1


def test_nothing_is_shown_of_no_work_or_without_progress(capsys):
    progress_bar(total=0, desc="Reading", unit=" rows").close()
    with progress_bar(total=10, desc="Reading", unit=" rows", progress=False) as bar:
        bar.update(10)
    tell("hidden", progress=False)

    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar(total=10, desc="Reading", unit=" rows") as bar:
        assert type(bar) is tqdm
        bar.update(10)

    assert "\rReading: 100%|" in terminal.written


def test_what_is_told_is_logged(caplog, capsys):
    with caplog.at_level(logging.INFO, logger="annbatch"):
        tell("found 3 files", progress=False)

    assert [(record.name, record.levelname, record.message) for record in caplog.records] == [
        ("annbatch", "INFO", "found 3 files")
    ]
    assert capsys.readouterr().out == ""
