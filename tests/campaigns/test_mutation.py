"""The changes that the mutation campaign makes, and that it tells noticed from unnoticed."""

from __future__ import annotations

import pytest

from tests.campaigns import mutation
from tests.campaigns.mutants import mutants

SOURCE = '''
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    LIMIT = 3

RATE = 1.5e-3


@cached(2)
def f(a: int = 7, *, b: "int | None" = None) -> int:
    """Not 1 + 1."""
    assert a < 3
    if a < b and not c:  # a > b
        return max(a, 1)
    for x in rows[2:]:
        if x is None:
            continue
        x += -y
    return True
'''


def test_every_change_is_one_token_of_what_runs() -> None:
    found = [(mutant.line, mutant.becomes) for mutant in mutants(SOURCE)]
    condition = "if a < b and not c:  # a > b"
    signature = 'def f(a: int = 7, *, b: "int | None" = None) -> int:'
    assert found == [
        ("RATE = 1.5e-3", "RATE = 1.6e-3"),
        (signature, signature.replace("7", "6")),
        (signature, signature.replace("7", "8")),
        (condition, "if a <= b and not c:  # a > b"),
        (condition, "if a < b or not c:  # a > b"),
        (condition, "if a < b and c:  # a > b"),
        ("return max(a, 1)", "return min(a, 1)"),
        ("return max(a, 1)", "return None"),
        ("return max(a, 1)", "return max(a, 0)"),
        ("return max(a, 1)", "return max(a, 2)"),
        ("for x in rows[2:]:", "for x in rows[:]:"),
        ("for x in rows[2:]:", "for x in rows[1:]:"),
        ("for x in rows[2:]:", "for x in rows[3:]:"),
        ("if x is None:", "if x is not None:"),
        ("continue", "break"),
        ("x += -y", "x -= -y"),
        ("x += -y", "x += y"),
        ("return True", "return False"),
        ("return True", "return None"),
    ]


def test_a_change_knows_the_functions_around_it() -> None:
    source = "A = 1\n\n\ndef f():\n    def g():\n        return 2\n    return g() + 3\n"
    around = {(mutant.line, mutant.functions) for mutant in mutants(source)}
    assert around == {("A = 1", ()), ("return 2", (4, 5)), ("return g() + 3", (4,))}


@pytest.mark.parametrize("file", mutation.TARGETS)
def test_what_is_listed_as_equivalent_still_stands_there(file: str) -> None:
    assert mutation.stale(file) == []


def test_only_files_of_the_campaign_have_equivalents() -> None:
    assert mutation.equivalents().keys() <= mutation.TARGETS.keys()
    assert all(e.reason for listed in mutation.equivalents().values() for e in listed)
