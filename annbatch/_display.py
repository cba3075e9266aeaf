"""What objects show of themselves: the same content as text, for terminals, and as HTML, for notebooks.

Names come from stores that anyone may have made: text shows no control characters, and HTML no markup of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_LONGEST = 120
"""Characters of a name that are shown."""

_MOST_ROWS = 100
"""Rows of a table that are shown."""

# No colours but the notebook's own, so that dark ones stay readable.
_CELL = "text-align:left;vertical-align:top;padding:1px 1em 1px 0;border:none;background:none"
_RULE = "border-bottom:1px solid rgba(128,128,128,.4)"


def shown(value: Any) -> str:
    r"""Return a value as one line of printable text, of bounded length.

    >>> print(shown("a\x1b[31m"), len(shown("x" * 1000)))
    a\x1b[31m 120
    """
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value)[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def counted(total: int, noun: str) -> str:
    """Return a number with its noun, which an s makes plural.

    >>> counted(1, "dataset"), counted(2000, "dataset")
    ('1 dataset', '2,000 datasets')
    """
    return f"{total:,} {noun}{'' if total == 1 else 's'}"


def listed_categories(names: Iterable[Any], total: int) -> str:
    """Return a few categories of ``total``, as one text.

    >>> listed_categories(["a", "b"], 3)
    '3 categories: a, b, …'
    """
    few = [shown(name) for name in names]
    what = f"{total:,} {'category' if total == 1 else 'categories'}"
    return f"{what}: {', '.join(few if len(few) == total else [*few, '…'])}" if few else what


@dataclass(frozen=True, slots=True)
class Section:
    """A part of what is shown: a table under a title.

    Attributes
    ----------
    title
        Its title.
    rows
        Cells of each row.
    opened
        Whether its rows are seen at first, in HTML.
    """

    title: str
    rows: Sequence[Sequence[Any]]
    opened: bool = False

    @classmethod
    def of(cls, title: str, rows: Callable[[], Iterable[Sequence[Any]]], *, opened: bool = False) -> Section:
        """Return a section; one that tells the error where its rows cannot be read, as showing must not fail."""
        try:
            return cls(title, list(rows()), opened)
        except Exception as error:
            return cls(title, [(f"cannot be read: {error}",)], opened)


@dataclass(frozen=True, slots=True)
class Summary:
    """What an object shows of itself.

    Attributes
    ----------
    title
        One line.
    sections
        Tables; those without rows are left out.
    """

    title: str
    sections: Sequence[Section]

    def __str__(self) -> str:
        lines = [self.title]
        for section in self._shown():
            table = [[shown(cell) for cell in row] for row in section.rows[:_MOST_ROWS]]
            widths = [max(map(len, column)) for column in zip_longest(*table, fillvalue="")]
            lines.append(f"  {section.title}")
            for row in table:
                lines.append("    " + "  ".join(map(str.ljust, row, widths)).rstrip())
            lines += [f"    … {more:,} more" for more in [len(section.rows) - _MOST_ROWS] if more > 0]
        return "\n".join(lines)

    def html(self) -> str:
        """Return the same as HTML, in which each section can be folded."""
        parts = [f'<div style="{_RULE};padding-bottom:4px">{escape(self.title)}</div>']
        for section in self._shown():
            rows = [
                "<tr>" + "".join(f'<td style="{_CELL}">{escape(shown(cell))}</td>' for cell in row) + "</tr>"
                for row in section.rows[:_MOST_ROWS]
            ]
            more = len(section.rows) - _MOST_ROWS
            rows += [f'<tr><td style="{_CELL}">… {more:,} more</td></tr>'] if more > 0 else []
            parts.append(
                f"<details{' open' if section.opened else ''}><summary>{escape(section.title)}"
                f"{'' if section.opened else f' ({len(section.rows):,})'}</summary>"
                f'<table style="margin:0 0 4px 1em;border-collapse:collapse">{"".join(rows)}</table></details>'
            )
        return f'<div style="max-width:100%;overflow-x:auto">{"".join(parts)}</div>'

    def _shown(self) -> list[Section]:
        return [section for section in self.sections if section.rows]


class Shown:
    """An object that shows a summary: its text where it is printed, its HTML in notebooks."""

    __slots__ = ()

    def _summary(self) -> Summary:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return self._summary().html()
