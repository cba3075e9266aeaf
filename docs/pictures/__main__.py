"""Draw the documentation's pictures again: ``python -m docs.pictures`` in the root of the repository."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

HERE = Path(__file__).parent
NAMES = (
    "pipeline",
    "mixing",
    "entropy",
    "ranks",
    "throughput",
    "overlap",
    "memory",
)


def main() -> None:
    """Draw the pictures that are named."""
    parser = argparse.ArgumentParser(prog="python -m docs.pictures", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(NAMES)}; all by default",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=HERE,
        metavar="DIR",
        help="where to write (default: here)",
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="on little data: shows that all works",
    )
    arguments = parser.parse_args()
    for name in arguments.names or NAMES:
        module = importlib.import_module(f".{name}", __package__)
        (arguments.out / f"{name}.svg").write_text(module.draw(small=arguments.small))


if __name__ == "__main__":
    main()
