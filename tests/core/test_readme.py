"""The README's two commands are what they are said to be: one line each, for a machine with Python and pip alone."""

from __future__ import annotations

import ast
import re

import pytest


@pytest.fixture
def commands(repository):
    blocks = re.findall(r"```bash\n(.*?)```", (repository / "README.md").read_text(), flags=re.DOTALL)
    return [block.strip().splitlines() for block in blocks]


def test_there_are_two_commands_of_one_line_each(commands):
    assert [len(lines) for lines in commands] == [1, 1]


def test_the_first_installs_and_runs_the_demo(commands):
    assert commands[0][0].startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert commands[0][0].endswith(" && .venv/bin/annbatch demo")


def test_the_second_installs_and_passes_the_tests(commands):
    assert commands[1][0].startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert commands[1][0].endswith(" && .venv/bin/pytest")


def test_the_extras_that_are_installed_exist(commands, repository):
    import tomllib

    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.search(r"'\.\[(.*?)\]'", commands[1][0])[1].split(",")

    assert set(named) <= set(extras)


def test_nobody_is_told_to_install_the_other_package_of_that_name(repository):
    files = [repository / "README.md", *(repository / "docs").glob("*.md")]
    files += [path for folder in ("annbatch", "adapters") for path in (repository / folder).rglob("*.py")]
    told = [
        (str(path), line)
        for path in files
        for line in path.read_text().splitlines()
        if re.search(r"install (-U )?'?annbatch\b(?!.* @ )", line)
    ]
    assert [path for path, line in told if "installs another package" not in line] == []


def test_code_fits_in_80_columns(repository):
    pages = [
        repository / "README.md",
        *(repository / "docs").glob("*.md"),
        *(repository / "docs/tutorials").glob("*.md"),
    ]
    too_long = [
        (page.name, line)
        for page in pages
        for code in re.findall(r"(?ms)^```(?:python|bash|text|{code-cell})[^\n]*\n(.*?)^```$", page.read_text())
        for line in code.splitlines()
        if len(line) > 80 and not line.endswith("&& .venv/bin/pytest")  # one line, which the gate runs
    ]
    assert too_long == []


def test_links_lead_to_files(repository):
    pages = [repository / "README.md", repository / "CONTRIBUTING.md", *(repository / "docs").glob("*.md")]
    for page in [*pages, *(repository / "docs" / "tutorials").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_files_that_the_map_names_exist(repository):
    roots = [repository, repository / "annbatch", repository / "annbatch" / "collection"]
    for page in ["CONTRIBUTING.md", "docs/architecture.md", "docs/architecture.svg"]:
        text = (repository / page).read_text()
        for path in re.findall(r"(?m)(?:`|^  |>| )([\w/.]*\w(?:/|\.py))(?=`|<|\s)", text):
            assert any((root / path).exists() for root in roots), f"{page} names {path}, which is not there"


def _messages(repository):
    """Return the texts of the package, each with NUL where a value stands."""
    found = set()
    for path in [*(repository / "annbatch").rglob("*.py"), *(repository / "adapters").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_messages_of_the_troubleshooting_page_are_those_of_the_package(repository):
    messages = [text.replace("`", "") for text in _messages(repository)]
    page = (repository / "docs" / "troubleshooting.md").read_text()
    quoted = re.findall(r"(?m)^`(.*)`\n: ", page)
    gone = [
        quote
        for quote in quoted
        if not any(all(part.strip() in text for part in quote.split("...")) for text in messages)
        and not quote.startswith("module 'annbatch'")
    ]
    assert len(quoted) > 20
    assert gone == []


def test_the_citation_is_of_this_version(repository):
    version = re.search(r'(?m)^version = "(.*)"$', (repository / "pyproject.toml").read_text())[1]

    assert f"\nversion: {version}\n" in (repository / "CITATION.cff").read_text()
