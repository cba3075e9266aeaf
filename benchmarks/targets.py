"""Targets of the benchmark: ratios of rates taken in turn, in one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """One ratio to reach.

    Attributes
    ----------
    section, case, contender
        Contender to judge.
    field
        ``ratio`` to the case's baseline, or ``of_limit``; for conversions also ``memory``, the baseline's peak over
        this one's, and ``within``, the allowed memory over this one's peak.
    at_least
        Value to reach.
    """

    section: str
    case: str
    contender: str
    field: str
    at_least: float


def _sparse(store: str, ratios: dict[int, float]) -> list[Target]:
    return [
        Target("sparse", f"chunks of {n}", f"annbatch, {store} store", "ratio", least) for n, least in ratios.items()
    ]


TARGETS = (
    *_sparse("compact", {512: 4, 64: 4.5, 32: 5, 16: 7, 1: 14}),
    *_sparse("random_access", {512: 9, 1: 150}),
    *_sparse("scverse", {512: 2.3, 64: 2.5, 1: 5}),
    *(
        Target("sparse", "chunks of 512", f"annbatch, {store} store, X only", "of_limit", 0.75)
        for store in ("compact", "random_access", "scverse")
    ),
    *(
        Target("dense", f"{kind}, chunks of {n}", "annbatch, compact store", "ratio", least)
        for kind in ("images", "genotypes", "embeddings")
        for n, least in ((64, 2.5), (16, 4))
    ),
    *(
        Target("dense", f"{kind}, chunks of 64", "annbatch, compact store", "of_limit", 0.7)
        for kind in ("images", "genotypes")
    ),
    Target("small batches", "two columns of obs", "batches of 128", "ratio", 0.8),
    Target("panel", "gene panel", "1,000 genes", "ratio", 1),
    Target("memory", "batches of 4096", "annbatch", "ratio", 3),
    Target("h5ad", "uncompressed", "annbatch", "ratio", 0.8),
    Target("h5ad", "gzip", "annbatch", "ratio", 0.8),
    *(Target("foreign", f"chunks of {n}", "annbatch", "ratio", 2.5) for n in (64, 1)),
    *(
        Target("cold", f"chunks of {n}", "annbatch with direct_io, compact store", "of_limit", 0.9)
        for n in (512, 64, 16)
    ),
    Target(
        "cold",
        "chunks of 1 in windows of 1,000 of 200,000 rows",
        "annbatch with direct_io, random_access store",
        "of_limit",
        0.8,
    ),
    Target("training", "a step as long as a load", "overlapped", "ratio", 1.8),
    Target("others", "single rows, BioNeMo SCDL", "annbatch, random_access store", "ratio", 15),
    Target("conversion", "h5ad files", "annbatch", "ratio", 8),
    Target("conversion", "h5ad files", "annbatch", "of_limit", 0.6),
    Target("conversion", "h5ad files", "annbatch", "memory", 4),
    Target("conversion", "h5ad files", "annbatch, memory_limit='500MB'", "ratio", 5),
    Target("conversion", "h5ad files", "annbatch, memory_limit='500MB'", "within", 1),
    Target("conversion", "h5ad files, gzip", "annbatch", "ratio", 6),
)


def judge(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare results with the targets; targets without a result are left out."""
    measured = {
        (case["section"], case["case"], one["name"]): (case, one) for case in cases for one in case["contenders"]
    }
    judged = []
    for target in TARGETS:
        case, one = measured.get((target.section, target.case, target.contender), (None, {}))
        value = one.get(target.field)
        if case is None or value is None:
            continue
        against = one["limit"] if target.field == "of_limit" else case["baseline"]
        against = {"memory": f"{against}'s memory", "within": "the memory limit"}.get(target.field, against)
        judged.append(
            {
                "section": target.section,
                "case": target.case,
                "contender": target.contender,
                "against": against,
                "field": target.field,
                "at_least": target.at_least,
                "measured": value,
                "met": value >= target.at_least,
            }
        )
    return judged
