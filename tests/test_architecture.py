"""Import rules that are about foreign packages; rules between our own packages are import-linter's."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "streams"
MAY_KNOW_FAUST = ("engine/", "app.py", "bench/restore.py", "bench/track.py")  # the last two measure stock Faust itself


def _imports(path: Path) -> Iterator[str]:
    """The first part of every absolutely imported module's name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            yield node.module.partition(".")[0]


MODULES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("core/")])
def test_the_core_knows_the_standard_library_and_itself_only(module: str) -> None:
    assert set(_imports(MODULES[module])) <= sys.stdlib_module_names | {"streams"}


def test_only_the_engine_and_the_app_know_faust() -> None:
    others = [name for name in MODULES if not name.startswith(MAY_KNOW_FAUST)]
    offenders = [name for name in others if {"faust", "mode"}.intersection(_imports(MODULES[name]))]
    assert offenders == []


def test_every_directory_with_code_is_a_package() -> None:
    """The import rules, the type checker and the build see packages only."""
    directories = {path.parent for path in MODULES.values()}
    assert [str(path) for path in sorted(directories) if not (path / "__init__.py").exists()] == []
