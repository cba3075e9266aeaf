"""The command line of the fuzzer."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from .run import FAILURES, MEMORY, Result, fuzz


def main() -> int:
    """Run mutations and print what came of them; the exit status is 1 if any outcome is one that must not be."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--mutations", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first mutation")
    parser.add_argument("--only", type=int, metavar="N", help="run one mutation and show its traceback")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that run mutations at a time")
    arguments = parser.parse_args()
    first, n = (arguments.first, arguments.mutations) if arguments.only is None else (arguments.only, 1)

    def report(found: dict[str, Any], result: Result) -> None:
        if arguments.only is not None:
            print(
                json.dumps({key: value for key, value in found.items() if key != "detail"}), found["detail"], sep="\n"
            )
        elif found["outcome"] in FAILURES or "at first" in found:
            print(json.dumps(found), flush=True)
        if sum(result.outcomes.values()) % 1000 == 0:
            print(f"{sum(result.outcomes.values())}: {dict(result.outcomes)}", flush=True)

    with tempfile.TemporaryDirectory(prefix="annbatch-fuzz-", dir=MEMORY) as folder:
        found = fuzz(
            Path(folder),
            range(first, first + n),
            arguments.seed,
            jobs=arguments.jobs,
            show=arguments.only is not None,
            report=report,
        )
    print(found)
    return int(bool(found.failures))


if __name__ == "__main__":
    sys.exit(main())
