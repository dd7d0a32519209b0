"""Collects golden files and prints what each tensor's error was. To add a checker:

1. Write `tests/golden/check_<family>.py`; every file of that name is imported.
2. `from golden.compare import FLOWS, GRADIENTS, VALUES, Golden, checks`; decorate `def fsq(golden: Golden) -> None`
   with `@checks("speech/fsq")`. A pattern such as `omni/projector_mlp*` covers several files, one call for each.
3. Read sizes, seeds and configuration from `golden.meta` (the JSON twin), never write them into the test.
4. Take tensors by `golden["in.wav"]`, state dicts by `golden.state("sd.")`, names by `golden.names("gradnorm.*")`.
5. `golden.exact(name, got)` for ids, masks, durations, paths; `golden.close(name, got, FLOWS)` for floats (VALUES by
   default); `valid=mask` compares valid positions only; `golden.equal(name, got, expected)` compares plain values.
6. A tensor that is neither read nor compared fails the test, unless `golden.leave("train.disc*", "reason")` says why.
7. Comparisons never raise: the test lists every failure of a file together. Delete the file's line in `not_covered.py`.
8. Copy the file into `tests/golden/data` (same layout), so that it is checked without `--golden-dir`.
"""

from __future__ import annotations

import importlib
import json
import traceback
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from golden.compare import Golden, file_ids, patterns
from golden.not_covered import NOT_COVERED

HERE = Path(__file__).parent
DEFAULT_DIR = HERE / "data"
DONE = pytest.StashKey[list[Golden]]()


def golden_dir(config: pytest.Config) -> Path:
    """The folder whose files are checked."""
    return Path(config.getoption("--golden-dir") or DEFAULT_DIR)


def load_checkers() -> dict[str, str]:
    """Import every `check_*.py`; those that fail are returned with their traceback."""
    broken = {}
    for path in sorted(HERE.glob("check_*.py")):
        try:
            importlib.import_module(f"golden.{path.stem}")
        except Exception:
            broken[path.name] = traceback.format_exc()
    return broken


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "file_id" not in metafunc.fixturenames:
        return
    folder = golden_dir(metafunc.config)
    found = file_ids(folder)
    if not found:
        raise pytest.UsageError(f"no golden files in {folder}: expected speech/*.json, speech/*.safetensors, omni/*")
    metafunc.config.stash[DONE] = []
    metafunc.parametrize("file_id", [name for name in found if name not in NOT_COVERED])


@pytest.fixture(scope="session")
def broken_checkers() -> dict[str, str]:
    """All checkers, imported; what could not be is here, by file, with its traceback."""
    return load_checkers()


@pytest.fixture
def golden(file_id: str, broken_checkers: dict[str, str], request: pytest.FixtureRequest) -> Golden:
    """The golden file under test, kept for the report."""
    opened = Golden(file_id, golden_dir(request.config))
    request.config.stash[DONE].append(opened)
    return opened


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    done = config.stash.get(DONE, None)
    if done is None:
        return
    folder = golden_dir(config)
    found = file_ids(folder)
    waiting = {name: NOT_COVERED[name] for name in found if name in NOT_COVERED}
    absent = [pattern for pattern in patterns() if not any(fnmatchcase(name, pattern) for name in found)]
    write = terminalreporter.write_line
    terminalreporter.section(f"golden data in {folder}")
    for golden in done:
        worst = golden.worst()
        near = f"; nearest to its tolerance: {worst.name} {worst.error:.1e} of {worst.tolerance:.0e}" if worst else ""
        write(f"{golden.file_id}: {len(golden.rows)} comparisons, {len(golden.problems())} problems{near}")
        if config.getoption("--golden-dir") or config.get_verbosity() > 0:
            for line in golden.lines():
                write(f"    {line}")
    for pattern in absent:
        write(f"no file here for the checker of {pattern}")
    write(f"not covered yet: {len(waiting)} of {len(found)} files")
    for name, reason in waiting.items():
        write(f"    {name:<36} {reason}")
    target = config.getoption("--golden-report")
    if target:
        report = {
            "folder": str(folder),
            "files": {golden.file_id: golden.as_dict() for golden in done},
            "no_file": absent,
            "not_covered": waiting,
        }
        Path(target).write_text(json.dumps(report, indent=1), encoding="utf-8")
