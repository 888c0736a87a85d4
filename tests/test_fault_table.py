"""Every fault of the table has a test, or a line here that says why not and what stands there instead.

The table itself is a design page beside the repository; where it is present, the ids are compared with it.
Fault ids of section F are written F-1 to F-8; F1 to F20 without a dash are the numbered facts the table begins with.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TABLE = TESTS.parents[1] / "shared" / "design" / "faults.md"
SIZES = {"A": 14, "B": 8, "C": 8, "D": 8, "E": 12, "F-": 8, "G": 12, "H": 6}
FAULTS = {f"{section}{n}" for section, size in SIZES.items() for n in range(1, size + 1)}
FACTS = {f"F{n}" for n in range(1, 21)}  # seen by running the libraries; a test may pin one, none has to

UNTESTED = {
    "A5": "no memory limit is kept: only named columns of the spans are read, and drift on [watch] sample rows",
    "A7": "no limit is read from a file's metadata before its rows: feeds are the user's own, not an upload",
    "C6": "open: influence is not capped by source or entity; a documented limit",
    "C8": "open: no comparison with the same season; the holdout's last weeks decide",
    "G12": "deploy/constraints.txt pins versions; hashes, SBOM and audits belong to a release",
}
CEILING = 5  # lower it with every line that goes; it never rises


def is_fault(call: ast.expr) -> bool:
    return isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.fault"


def ids_of(call: ast.Call) -> list[str]:
    """Ids written out in a marker; anything computed could not be checked without running it."""
    for argument in call.args:
        assert isinstance(argument, ast.Constant), f"line {call.lineno}: a fault id must be written out"
        assert isinstance(argument.value, str), f"line {call.lineno}: a fault id is a text"
    return [argument.value for argument in call.args if isinstance(argument, ast.Constant)]


def marked() -> dict[str, list[str]]:
    """Id → tests whose own decorators name it; a marker anywhere else covers nothing and is a mistake."""
    found: dict[str, list[str]] = {}
    for file in sorted(TESTS.glob("**/*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        calls = {id(node) for node in ast.walk(tree) if is_fault(node)} if file != Path(__file__) else set()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for call in filter(is_fault, node.decorator_list):
                    calls.discard(id(call))
                    for name in ids_of(call):
                        found.setdefault(name, []).append(f"{file.name}::{node.name}")
        assert not calls, f"{file.name} marks something that is no test"
    return found


def test_every_marker_names_a_fault_or_a_fact() -> None:
    assert sorted(set(marked()) - FAULTS - FACTS) == []


def test_every_fault_has_a_test_or_a_reason() -> None:
    assert sorted(FAULTS - set(marked()) - set(UNTESTED)) == []


def test_no_reason_outlives_its_test() -> None:
    assert sorted(set(UNTESTED) & set(marked())) == []
    assert sorted(set(UNTESTED) - FAULTS) == []


def test_the_list_of_reasons_only_shrinks() -> None:
    assert len(UNTESTED) == CEILING
    assert all(len(reason.split()) >= 5 for reason in UNTESTED.values())


@pytest.mark.skipif(not TABLE.exists(), reason="the fault table is not in ../shared/design")
def test_the_ids_are_those_of_the_table() -> None:
    text = TABLE.read_text(encoding="utf-8")
    head, _, rest = text.partition("## The fault model")
    rows = re.findall(r"^\| ([A-H]-?\d+) \|", rest, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == FAULTS
    assert set(re.findall(r"^\| (F\d+) \|", head, re.MULTILINE)) == FACTS
