"""Every golden file of the folder is held against the component that it describes."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from golden.compare import Golden, checker_of, file_ids, patterns
from golden.conftest import DEFAULT_DIR
from golden.not_covered import NOT_COVERED


def test_golden(file_id: str, golden: Golden) -> None:
    checker = checker_of(file_id)
    if checker is None:
        pytest.fail(f"unknown golden file {file_id}: write a checker for it or list it in tests/golden/not_covered.py")
    checker(golden)
    problems = golden.problems()
    if problems:
        pytest.fail("\n".join([f"{file_id}: {len(problems)} problems", *problems]), pytrace=False)


def test_every_checker_can_be_imported(broken_checkers: dict[str, str]) -> None:
    assert not broken_checkers, "\n".join(broken_checkers.values())


def test_what_is_covered_is_not_listed_as_missing(broken_checkers: dict[str, str]) -> None:
    both = [name for name in NOT_COVERED if checker_of(name)]
    assert not both, f"checked, and listed in not_covered.py: {both}"


def test_the_shipped_data_reaches_every_checker(broken_checkers: dict[str, str]) -> None:
    shipped = file_ids(DEFAULT_DIR)
    idle = [pattern for pattern in patterns() if not any(fnmatchcase(name, pattern) for name in shipped)]
    assert not idle, f"no file in {DEFAULT_DIR} for the checkers of {idle}"
