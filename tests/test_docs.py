"""What the documents name exists: files behind links, headings behind anchors, make targets and commands; what they
show can be read; and the readme leads to every page.
"""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from streams.cli.group import streams as streams_command
from streams.serde.records import encode

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("grafana/**/*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^ *```(python|toml|json)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)[^)]*\)")
_CODE = re.compile(r"`([^`\n]+)`")


def _prose(text: str) -> str:
    return _FENCE.sub("", text)


def _anchors(text: str) -> set[str]:
    """The anchors of a document's headings, made as GitHub makes them."""
    headings = re.findall(r"^#{1,6} +(.+?) *#*$", _prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _commands(text: str) -> Iterator[str]:
    """Everything that a reader may type: lines of fenced blocks, and code spans."""
    for block in _FENCE.findall(text):
        yield from (re.sub(r"^[$>] +", "", line.strip()) for line in block.splitlines()[1:-1])
    yield from _CODE.findall(_prose(text))


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files_and_headings_that_exist(name: str) -> None:
    document = ROOT / name
    text = document.read_text(encoding="utf-8")
    for link in _LINK.findall(_prose(text)):
        if re.match(r"[a-z]+:", link):
            continue  # another site's business
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        assert target.exists(), f"{name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in _anchors(target.read_text(encoding="utf-8")), f"{name}: {link}"


def test_the_readme_leads_to_every_page() -> None:
    links = {link.partition("#")[0] for link in _LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))}
    assert [name for name in NAMES if name.startswith("docs/") and name not in links] == []


@pytest.mark.parametrize("name", NAMES)
def test_what_may_be_copied_can_be_read(name: str) -> None:
    for language, block in _BLOCK.findall((ROOT / name).read_text(encoding="utf-8")):
        text = textwrap.dedent(block)
        match language:
            case "python":
                compile(text, name, "exec")
            case "toml":
                tomllib.loads(text)
            case "json":
                encode("SendRequest", json.loads(text))


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_and_commands_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = set(streams_command.list_commands(click.Context(streams_command)))
    for line in _commands((ROOT / name).read_text(encoding="utf-8")):
        for target in re.findall(r"(?:^|&& )make ([a-z][a-z-]*)", line):
            assert target in targets, f"{name}: {line}"
        for command in re.findall(r"(?:^|&& |\$ )streams ([a-z][a-z-]*)", line):
            assert command in commands, f"{name}: {line}"
