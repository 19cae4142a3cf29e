"""A package comes in when its licence is known and on the list; what nobody can tell does not."""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message

import pytest
from packaging.markers import Marker

from tests.supply.licences import LicenceNotKnown, is_allowed, licence_findings, licence_of, stated
from tests.supply.locks import Pin
from tests.supply.policy import Policy, Reviewed

HERE = {"h11": "0.16.0"}
ELSEWHERE = Marker("sys_platform == 'plan9'")


def policy(**given: object) -> Policy:
    rules: dict[str, object] = {"allowed": frozenset({"MIT"}), "allowed_for": {}, "spellings": {}, "reviewed": {}}
    return Policy(**{**rules, "let_through": (), **given})  # type: ignore[arg-type]


def pin(name: str, version: str = "1.0", marker: Marker | None = None) -> Pin:
    return Pin(name, version, marker, ("a" * 64,))


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND Apache-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-2.0-only OR (MIT AND AGPL-3.0-only)", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("Apache-2.0 WITH LLVM-exception", False),
        ("LicenseRef-Repoze", False),
    ],
)
def test_of_two_licences_both_must_be_allowed_or_one_of_a_choice(expression: str, allowed: bool) -> None:
    assert is_allowed(expression, {"MIT", "Apache-2.0"}) is allowed


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"License-Expression": "MIT", "License": "BSD"}, "MIT"),
        ({"License": "Copyright\nlong text"}, "Copyright"),
        ({"License": "UNKNOWN", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT License"),
        ({"Classifier": "Topic :: Internet"}, ""),
        ({}, ""),
    ],
)
def test_a_package_is_taken_at_its_word(fields: Mapping[str, str], said: str) -> None:
    metadata = Message()
    for name, value in fields.items():
        metadata[name] = value
    assert stated(metadata) == said


def test_two_classifiers_are_no_expression() -> None:
    metadata = Message()
    metadata["Classifier"] = "License :: OSI Approved :: MIT License"
    metadata["Classifier"] = "License :: OSI Approved :: Apache Software License"
    assert stated(metadata) == "MIT License and Apache Software License"


def test_a_licence_that_is_not_on_the_list_is_a_finding_and_one_that_a_package_alone_may_have_is_not() -> None:
    h11 = pin("h11", HERE["h11"])
    assert licence_findings([h11], policy()) == []
    assert licence_findings([h11], policy(allowed=frozenset({"ISC"}))) == [
        "h11 0.16.0: the licence MIT is not on the list"
    ]
    assert licence_findings([h11], policy(allowed=frozenset({"ISC"}), allowed_for={"h11": "MIT"})) == []
    assert licence_findings([h11], policy(allowed=frozenset({"ISC"}), allowed_for={"idna": "MIT"})) != []


def test_a_review_stands_only_as_long_as_the_package_says_the_same() -> None:
    h11 = pin("h11", HERE["h11"])
    assert licence_of(h11, policy(reviewed={"h11": Reviewed("ISC", "MIT")})) == "ISC"
    with pytest.raises(LicenceNotKnown, match="read it again"):
        licence_of(h11, policy(reviewed={"h11": Reviewed("ISC", "BSD")}))


def test_a_package_of_another_system_needs_somebody_who_has_read_its_licence() -> None:
    foreign = pin("not-installed-anywhere", marker=ELSEWHERE)
    with pytest.raises(LicenceNotKnown, match="nobody has read"):
        licence_of(foreign, policy())
    assert licence_of(foreign, policy(reviewed={foreign.name: Reviewed("MIT", None)})) == "MIT"


def test_the_licence_of_another_version_is_not_taken_for_the_locked_ones() -> None:
    with pytest.raises(LicenceNotKnown, match=r"0\.16\.0 is installed: run `make venv`"):
        licence_of(pin("h11", "0.15.0"), policy())
    assert licence_of(pin("h11", "0.15.0", ELSEWHERE), policy()) == "MIT"  # a second version, for other systems
