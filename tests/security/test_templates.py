"""A template may not take the worker's memory or time, nor reach anything but its data."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from streams.content.render import RenderFailure, compile_content, render_one
from streams.core.message import Content, Mailbox, Message, Stream, Template
from tests.security.template_attacks import ATTACKS, ESCAPES

_MOST_MB = 200
_MOST_S = 4.0  # of processor time, on a busy machine; the limit itself is half a second


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, Any]]:
    """Every attack, rendered in a process of its own that may not grow."""
    command = [sys.executable, "-m", "tests.security.template_attacks"]
    done = subprocess.run(command, capture_output=True, timeout=55, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"died after {lines[-1] if lines else 'nothing'}: {done.stderr[-2000:].decode()}"
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_template_is_refused_before_it_costs_anything(told: dict[str, dict[str, Any]], name: str) -> None:
    line = told[name]
    assert not line["said"].startswith("rendered"), line
    assert "MemoryError" not in line["said"]
    assert line["seconds"] < _MOST_S, line
    assert line["peak_mb"] < _MOST_MB, line


@pytest.mark.parametrize("name", ESCAPES)
def test_what_a_refusal_says_reveals_nothing(told: dict[str, dict[str, Any]], name: str) -> None:
    assert " at 0x" not in told[name]["said"]
    assert "root:" not in told[name]["said"]


@pytest.mark.parametrize(
    "source",
    [
        """{{ [""]|map(attribute="__class__")|list }}""",
        """{{ [""]|map("attr", "__class__")|list }}""",
        """{{ [""]|groupby("__class__")|list }}""",
        """{% for a in [""]|groupby("__class__") %}{{ a }}{% endfor %}""",
        """{{ cycler("a", "b").items }}""",
        """{{ {"__class__": "a key"}.__class__ }}""",
        """{{ ("%s"|safe) % "<b>" }}""",
    ],
)
def test_what_is_rendered_of_such_a_template_reveals_nothing(source: str) -> None:
    content = Content(Mailbox("a@example.com"), template=Template("t", "1", "s", source))
    message = Message(
        "m", "t", Stream.BULK, "k", Mailbox("b@example.com"), "h", "f", 1, 1, content, data={"items": ["y"]}
    )
    compiled = compile_content(content)
    assert not isinstance(compiled, RenderFailure)
    rendered = render_one(compiled, message)
    assert not isinstance(rendered, RenderFailure)
    text = "".join(map(str, rendered.text))
    assert not any(word in text for word in ("<class", "class 'str'", " at 0x", "built-in", "__main__", "<b>")), text
