"""Results as Markdown tables, for the terminal and for the documentation."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

Row = list[str]

SUMMARISED = {
    "scverse annbatch": "scverse annbatch, scverse store",
    "annbatch, same store": "annbatch, scverse store",
    "annbatch, compact": "annbatch, compact store",
    "annbatch, random_access": "annbatch, random_access store",
}
"""Contenders in the documentation's table, and how it calls them."""


def report(result: dict[str, Any]) -> str:
    """Return all tables of a result."""
    parts = [_machine(result)]
    if result["conversions"]:
        parts.append(_conversions(result["conversions"]))
    cases = result["cases"]
    parts += [_limits(cases)] if any(case["section"] == "limits" for case in cases) else []
    for section in dict.fromkeys(case["section"] for case in cases if case["section"] != "limits"):
        chosen = [case for case in cases if case["section"] == section]
        parts.append(f"### {section.capitalize()}\n\n" + "\n\n".join(case_table(case) for case in chosen))
    if result["targets"]:
        parts.append(_targets(result["targets"]))
    return "\n\n".join(parts)


def split(result: dict[str, Any], section: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the part of a result that belongs to one section, and the rest."""

    def part(inside: bool) -> dict[str, Any]:
        keys = ("cases", "targets")
        return {key: [one for one in result[key] if (one["section"] == section) == inside] for key in keys}

    return result | part(True) | {"conversions": []}, result | part(False)


def case_table(case: dict[str, Any]) -> str:
    """Return one case as a table."""
    if case["section"] == "conversion":
        return _conversion_table(case)
    if case["section"] == "cold":
        return _cold_table(case)
    head = [f"{case['case']}", "rows/s", "rows/CPU s", "of its limit", "of the baseline"]
    rows = []
    for one in case["contenders"]:
        name = f"**{one['name']}** (baseline)" if one["name"] == case["baseline"] else one["name"]
        if "error" in one:
            rows.append([name, "failed", "", "", ""])
            continue
        of_limit = f"{one['of_limit']:.0%}" if one["of_limit"] is not None else ""
        ratio = f"{_number(one['ratio'])}x" if one["ratio"] is not None and one["name"] != case["baseline"] else ""
        rates = [_rate(one["per_second"], one["unit"]), _rate(one["per_cpu_second"], one["unit"])]
        rows.append([name, *rates, of_limit, ratio])
    return _table(head, rows)


def _cold_table(case: dict[str, Any]) -> str:
    """Return a case with the bytes that came from the disk: per row, and over those of the blocks that hold rows."""
    head = [
        case["case"],
        "rows/s",
        "of the disk",
        "of the baseline",
        "from the disk",
        "read over wanted",
        "each sample",
    ]
    wanted, rows = {}, []
    for one in case["contenders"]:
        is_baseline = one["name"] == case["baseline"]
        name = f"**{one['name']}** (baseline)" if is_baseline else one["name"]
        if "error" in one:
            rows.append([name, "failed", "", "", "", "", ""])
            continue
        samples = one["samples"]
        if "wanted_bytes" in samples[0]:
            wanted[one["name"].removeprefix("disk, ")] = samples[0]["wanted_bytes"] / samples[0]["amount"]
            name += f", {samples[0]['depth']} requests in flight"
        per_row = median(sample.get("disk_bytes", 0) / sample["amount"] for sample in samples)
        need = wanted.get(one["name"].rpartition(", ")[2])
        rows.append(
            [
                name,
                _rate(one["per_second"], "rows"),
                f"{one['of_limit']:.0%}" if one["of_limit"] is not None else "",
                f"{_number(one['ratio'])}x" if one["ratio"] is not None and not is_baseline else "",
                f"{_number(per_row / 1e3)} kB/row",
                f"{_number(per_row / need)}" if need else "",
                " ".join(_rate(sample["amount"] / sample["seconds"], "rows") for sample in samples),
            ]
        )
    return _table(head, rows)


def _conversion_table(case: dict[str, Any]) -> str:
    rows = []
    for one in case["contenders"]:
        is_baseline = one["name"] == case["baseline"]
        name = f"**{one['name']}** (baseline)" if is_baseline else one["name"]
        if "error" in one:
            rows.append([name, "failed", *[""] * 5])
            continue
        rates = [_rate(one[key], "rows") for key in ("per_second", "per_cpu_second")]
        of_limit = f"{one['of_limit']:.0%}" if one["of_limit"] else ""
        ratios = [f"{_number(one[key])}x" if one[key] and not is_baseline else "" for key in ("ratio", "memory")]
        rows.append([name, *rates, of_limit, ratios[0], f"{one['peak_bytes'] / 1e9:.2f} GB", ratios[1]])
    return _table(
        [case["case"], "rows/s", "rows/CPU s", "of its limit", "of the baseline", "most memory", "baseline's to it"],
        rows,
    )


def summary(result: dict[str, Any]) -> str:
    """Return the table that users need: rows per second of a few loaders at each chunk size."""
    rows = []
    for case in result["cases"]:
        if case["section"] == "sparse":
            rates = {one["name"]: one["per_second"] for one in case["contenders"] if "error" not in one}
            shown = [_rate(rates[name], "rows") if name in rates else "" for name in SUMMARISED.values()]
            rows.append([case["case"].removeprefix("chunks of "), *shown])
    return _table(["`chunk_size`", *SUMMARISED], rows)


def read_summary(page: Path) -> dict[int, dict[str, float]]:
    """Return the rates that a page's summary has, by chunk size and loader."""
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in _between(page, "table")[1].strip().splitlines()
        if line.startswith("|")
    ]
    return {
        int(row[0]): {
            name: float(cell.replace(",", "").rstrip("k")) * (1e3 if cell.endswith("k") else 1)
            for name, cell in zip(head[1:], row[1:], strict=True)
            if cell
        }
        for row in rows
    }


def conversions_summary(result: dict[str, Any]) -> str:
    """Return the tables of conversions alone."""
    return "\n\n".join(case_table(case) for case in result["cases"])


def replace(page: Path, name: str, text: str) -> None:
    """Replace the text between a page's two markers of that name."""
    before, _, after = _between(page, name)
    page.write_text(f"{before}\n\n{text}\n\n{after}")


def _between(page: Path, name: str) -> tuple[str, str, str]:
    """Return what stands before, between and after two markers; the first and last part with the marker."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = page.read_text()
    if begin not in text or end not in text:
        raise ValueError(f"{page} must hold the markers {begin!r} and {end!r}.")
    before, rest = text.split(begin, 1)
    inside, after = rest.split(end, 1)
    return before + begin, inside, end + after


def _machine(result: dict[str, Any]) -> str:
    machine, settings = result["machine"], result["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    where = f"Measured {result['date']} on {machine['cpu']}, {machine['cores']} cores; {versions}."
    load = f"the machine's load was {machine['load']:.1f} at the start."
    if result["cases"] and all(case["section"] == "conversion" for case in result["cases"]):
        samples = [one["samples"] for case in result["cases"] for one in case["contenders"] if "samples" in one]
        n_rows = samples[0][0]["amount"] if samples else 0
        return f"{where} {n_rows:,} rows, medians of {max(map(len, samples), default=0)} rounds, in turn; {load}"
    sizes = [
        f"{name}: {store['n_obs']:,} x {store['n_vars']:,}, {store['nnz'] / store['n_obs']:,.0f} non-zeros per row, "
        f"{store['bytes'] / 1e6:,.0f} MB"
        for name, store in result["stores"]["sparse"].items()
    ]
    return (
        f"{where} Medians of {settings['rounds']} rounds of about {settings['seconds']:g} s, contenders in turn; "
        f"windows of {settings['window']:,} rows, batches of {settings['batch_size']:,} unless stated otherwise; "
        f"{load}\n\n" + "\n".join(f"- {size}" for size in sizes)
    )


def _conversions(conversions: list[dict[str, Any]]) -> str:
    rows = []
    for one in conversions:
        if "error" in one:
            rows.append([one["name"], "failed", "", ""])
            continue
        memory = one["samples"][0]["added_bytes"] / 1e9
        rates = [_rate(one[key], "rows") for key in ("per_second", "per_cpu_second")]
        rows.append([one["name"], *rates, f"{memory:.1f} GB"])
    return "### Conversion from h5ad\n\n" + _table(["store", "rows/s", "rows/CPU s", "memory"], rows)


def _limits(cases: list[dict[str, Any]]) -> str:
    chosen = [case for case in cases if case["section"] == "limits"]
    rates: dict[str, Row] = {}
    for case in chosen:
        for one in case["contenders"]:
            shown = "failed" if "error" in one else _rate(one["per_second"], one["unit"])
            rates.setdefault(one["name"], []).append(shown)
    rows = [[name, *values] for name, values in rates.items()]
    return "### Limits of the machine\n\n" + _table(["per second", *(case["case"] for case in chosen)], rows)


def _targets(targets: list[dict[str, Any]]) -> str:
    rows = []
    for one in targets:
        where = f"{one['section']}, {one['case']}: {one['contender']}"
        values = [
            f"{value:.0%}" if one["field"] == "of_limit" else f"{_number(value)}x"
            for value in (one["at_least"], one["measured"])
        ]
        rows.append([where, one["against"], *values, "yes" if one["met"] else "**no**"])
    return "### Targets\n\n" + _table(["what", "against", "target", "measured", "met"], rows)


def _table(head: Row, rows: list[Row]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: Row) -> str:
        padded = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (width - 1) if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def _rate(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{_number(value / 1e9)} GB"
    if unit == "values":
        return f"{_number(value / 1e9)} G values"
    return f"{value / 1e3:,.0f}k" if value >= 99_500 else f"{value / 1e3:.1f}k" if value >= 950 else f"{value:,.0f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
