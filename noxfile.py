"""The project's commands: `nox -s demo`, `nox -s tests`, and what a change has to pass. Arguments go behind `--`."""

from __future__ import annotations

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


@nox.session
def plugins(session: nox.Session) -> None:
    """Every distribution in plugins/, each installed beside omnikit and tested in its own folder."""
    install(session, "-e", ".[dev]")
    folders = sorted(path.parent for path in Path("plugins").glob("*/pyproject.toml"))
    for folder in folders:
        install(session, "-e", f"{folder}[dev]")
    for folder in folders:
        with session.chdir(folder):
            session.run("pytest", *session.posargs, env=OFFLINE)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation in site/, with every component held to its promises; `-- serve` shows it while you write."""
    install(session, "-e", ".[docs]")
    for path in sorted(Path("plugins").glob("*/pyproject.toml")):
        if "omnikit.components" in path.read_text(encoding="utf-8"):
            install(session, "-e", str(path.parent))
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
    shutil.rmtree("build", ignore_errors=True)  # setuptools would ship what a former build left there
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
