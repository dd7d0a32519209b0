"""The project's commands: `nox -s demo`, `nox -s tests`, and what a change has to pass. Arguments go behind `--`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "wheel"]

CONSTRAINTS = str(Path(__file__).parent / "constraints.txt")
INSTALL_ENV = {"UV_COMPILE_BYTECODE": "1", "PYTHONDONTWRITEBYTECODE": None}
if "PIP_FIND_LINKS" in os.environ:
    INSTALL_ENV["UV_FIND_LINKS"] = os.environ.get("UV_FIND_LINKS", os.environ["PIP_FIND_LINKS"])
RUN_ENV = {"PYTHONDONTWRITEBYTECODE": None, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
OFFLINE = {"HF_HUB_OFFLINE": "1", **RUN_ENV}
BESIDE_PLUGINS = [
    "tests/plugins/test_plugins.py",
    "tests/plugins/test_together.py",
    "tests/docs/test_component_pages.py",
    "tests/test_registry.py",
    "tests/nn/test_fsq.py",
]
"""Tests of omnikit that look at all that is installed, and some whose examples hypothesis makes."""


def install(session: nox.Session, *what: str) -> None:
    """Install into the session's environment, at the measured versions."""
    session.install("-c", CONSTRAINTS, *what, env=INSTALL_ENV)


@nox.session
def demo(session: nox.Session) -> None:
    """Look, listen and speak with the tiny system, and write report.html."""
    install(session, "-e", ".[train]")
    session.run("omnikit", "quickstart", "--out", "report.html", *session.posargs, env=RUN_ENV)


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite, without a network."""
    install(session, "-e", ".[dev]")
    session.run("pytest", *session.posargs, env=OFFLINE)


@nox.session
def golden(session: nox.Session) -> None:
    """Parity with the original systems; `-- --golden-dir DIR` for data from elsewhere."""
    install(session, "-e", ".[dev]")
    session.run("pytest", "tests/golden", *session.posargs, env=OFFLINE)


def brings_components(folder: Path) -> bool:
    """Whether a distribution of plugins/ registers components; a bridge to an evaluator does not."""
    return "omnikit.components" in (folder / "pyproject.toml").read_text(encoding="utf-8")


@nox.session
def plugins(session: nox.Session) -> None:
    """Every distribution in plugins/ in its own folder with no other in use, then all of them in one process."""
    folders = sorted(path.parent for path in Path("plugins").glob("*/pyproject.toml"))
    words = [word for folder in folders for word in ("-e", f"{folder}[dev]")]
    install(session, "-e", ".[dev]", *words)
    for folder in folders:
        own = folder.name if brings_components(folder) else "none"
        with session.chdir(folder):
            session.run("pytest", *session.posargs, env={"OMNIKIT_PLUGINS": own, **OFFLINE})
    session.run("pytest", *BESIDE_PLUGINS, "plugins", *session.posargs, env=OFFLINE)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation in site/, with every component held to its promises; `-- serve` shows it while you write."""
    found = sorted(path.parent for path in Path("plugins").glob("*/pyproject.toml"))
    folders = [folder for folder in found if brings_components(folder)]
    install(session, "-e", ".[docs]", *(word for folder in folders for word in ("-e", str(folder))))
    session.run("python", "docs/_build/conform.py", env={"PYTHONPATH": "tests", **OFFLINE})
    command = session.posargs or ["build", "--strict"]
    session.run("mkdocs", *command, env={"NO_MKDOCS_2_WARNING": "1", **OFFLINE})


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    install(session, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types of the public surface (listed in pyproject.toml)."""
    install(session, "-e", ".[dev]")
    session.run("mypy", env=RUN_ENV)


def built_wheel(session: nox.Session) -> Path:
    """Build the wheel into the session's folder and return its path."""
    install(session, "build")
    folder = Path(session.create_tmp()).resolve()
    for old in folder.glob("*.whl"):
        old.unlink()
    shutil.rmtree("build/lib", ignore_errors=True)  # setuptools would ship what a former build left there
    session.run("python", "-m", "build", "--wheel", "--outdir", str(folder), env=RUN_ENV)
    (built,) = folder.glob("*.whl")
    return built


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it where the source tree is out of sight, and check the tiny system there."""
    built = built_wheel(session)
    install(session, "--force-reinstall", "--no-deps", str(built))
    install(session, f"{built}[train]")
    with session.chdir(built.parent):
        session.run("omnikit", "check", "experiment=emova_tiny", env=OFFLINE)


NEWCOMER = "tokenizer/my_codec"
NEWCOMER_STUDY = """
question: What do the units of a tokenizer that somebody else wrote say of the speaker, beside those of spiral_fsq?
kind: one_at_a_time
base: [experiment=emova_tiny]
baseline: spiral_fsq
arms:
  spiral_fsq: [tokenizer=spiral_fsq_tiny]
  my_codec: [tokenizer=my_codec]
seeds: [0, 1]
primary: tokenizer.gender_read_from_units
judges: [tokenizer]
stages: [tokenizer]
"""
AS_SHIPPED = """
import base64, hashlib
from importlib.metadata import files
for file in files("omnikit-core"):
    if file.hash:
        found = base64.urlsafe_b64encode(hashlib.sha256(file.locate().read_bytes()).digest())
        assert found.decode().rstrip("=") == file.hash.value, f"{file} is no longer what the wheel brought"
"""
COMPARED = {f"tokenizer.{name}" for name in ("gender_read_from_units", "codebook_perplexity", "bit_rate_entropy")}
A_MINUTE = ["budget=tiny", "budget.steps.tokenizer=300", "recipe.tokenizer.batch_s=20", "recipe.tokenizer.num_valid=20"]


@nox.session(reuse_venv=False)
def newcomer(session: nox.Session) -> None:
    """A plugin from its template to a report next to spiral_fsq, in a fresh environment beside the wheel of omnikit."""
    built = built_wheel(session)
    folder = built.parent / "newcomer"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    install(session, f"{built}[train]", "pytest")
    with session.chdir(folder):
        session.run("omnikit", "new", "plugin", *NEWCOMER.split("/"), env=OFFLINE)
        install(session, "./omnikit-my-codec")
        listed = session.run("omnikit", "ls", "tokenizer", "--json", env=OFFLINE, silent=True)
        found = {row["id"]: row for row in json.loads(listed)}[NEWCOMER]
        expect(session, (found["distribution"], found["broken"]), ("omnikit-my-codec", ""))
        session.run("omnikit", "conformance", NEWCOMER, "--badge", "badge.json", env=OFFLINE)
        session.run("pytest", "-q", "--omnikit-conformance", NEWCOMER, env=OFFLINE)
        Path("newcomer.yaml").write_text(NEWCOMER_STUDY, encoding="utf-8")
        session.run("omnikit", "data", "make", "--out", "corpus", "--hours", "1", env=OFFLINE)
        words = ["--file", "newcomer.yaml", "out=study", "data.path=corpus", *A_MINUTE, *session.posargs]
        session.run("omnikit", "ablate", *words, env=OFFLINE)
        session.run("omnikit", "report", "study", env=OFFLINE)
        session.run("python", "-c", AS_SHIPPED, env=OFFLINE)
    read_newcomer(session, folder / "study" / "report")
    session.log(f"Look at {folder / 'study' / 'report' / 'report.html'}")


def read_newcomer(session: nox.Session, report: Path) -> None:
    """Every run of both arms is done, and both stand in the page, with numbers beside each other in the lines."""
    rows = [json.loads(line) for line in (report / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    page = (report / "report.html").read_text(encoding="utf-8")
    expect(session, {row["state"] for row in rows}, {"done"})
    for arm in ("spiral_fsq", "my_codec"):
        known = {row["metric"] for row in rows if row["arm"] == arm and row["value"] is not None}
        expect(session, COMPARED - known, set())
        expect(session, arm in page, True)


def expect(session: nox.Session, found: object, wanted: object) -> None:
    """Fail the session where something is not as it has to be."""
    if found != wanted:
        session.error(f"Found {found}; expected {wanted}.")


SINGLE_PART = """
import torch, omnikit
tokenizer = omnikit.load("tokenizer/spiral_fsq.tiny")
units = tokenizer.encode(omnikit.Audio(torch.randn(1, 16_000), torch.tensor([16_000]), 16_000))
print(units.vocab_id, units.codes.shape)
"""


@nox.session
def core(session: nox.Session) -> None:
    """Build the wheel, install it without any extra, and use a single part; what is missing is named."""
    built = built_wheel(session)
    install(session, "--force-reinstall", "--no-deps", str(built))
    install(session, str(built))
    with session.chdir(built.parent):
        session.run("python", "-c", SINGLE_PART, env=OFFLINE)
        session.run("omnikit", "describe", "detokenizer/uvits", env=OFFLINE)
        session.run("omnikit", "check", "experiment=emova_tiny", env=OFFLINE, success_codes=[2])
