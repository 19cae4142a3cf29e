"""The list of mutations speaks of the code as it is; that they are caught is shown by `make mutations`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations.list import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_changes_one_place_that_exists_and_names_tests_that_exist(mutation: Mutation) -> None:
    text = (ROOT / mutation.file).read_text(encoding="utf-8")
    mutated = mutation.apply(text)
    assert mutated != text
    compile(mutated, mutation.file, "exec")
    for name in mutation.tests:
        assert (ROOT / name.partition("::")[0]).is_file(), name
