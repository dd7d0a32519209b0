"""Components and systems on the Hugging Face hub: what `omnikit.artefacts` writes, under a repository and a revision.

A reference is `hf:owner/name@revision`, with `#slot` for one part. The revision (a commit, tag or branch) must be
given: what a name means today is not what it means tomorrow, and results must be repeatable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnikit.errors import OmnikitError
from omnikit.nn.extras import extra

HUB = "hf:"
FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt")
"""What is fetched and sent: data, never code."""

_REFERENCE = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)(?:#(?P<slot>\w+))?")


@dataclass(frozen=True)
class HubReference:
    """A repository at a revision, and the slot of one part where only that is wanted."""

    repo: str
    revision: str
    slot: str | None = None


def parse(reference: str) -> HubReference:
    """Read `hf:owner/name@revision#slot`. Raises `OmnikitError` for anything else, a missing revision first of all."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise OmnikitError(
            f"'{reference}' is no reference to the hub: write hf:owner/name@revision, or hf:owner/name@revision#slot.\n"
            "The revision is a commit, tag or branch; without one, the same line could load other weights tomorrow."
        )
    return HubReference(**found.groupdict())


def fetch(reference: str) -> Path:
    """The local copy of a repository, or of the one part that `#slot` names; what is there already stays.

    Raises `OmnikitError` where it cannot be had.
    """
    wanted = parse(reference)
    below = f"{wanted.slot}/" if wanted.slot else ""
    hub = extra("huggingface_hub", "hub", f"load('{reference}')")
    try:
        folder = hub.snapshot_download(
            wanted.repo,
            revision=wanted.revision,
            allow_patterns=[f"{below}{pattern}" for pattern in FILES],
        )
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise OmnikitError(
            f"{reference} could not be fetched: {reason[:200]}\nCheck the name, the revision and the network."
        ) from error
    if wanted.slot and not (Path(folder) / wanted.slot).is_dir():
        raise OmnikitError(f"{wanted.repo} at {wanted.revision} has no part '{wanted.slot}'.")
    return Path(folder)


def send(folder: Path, repo: str, *, private: bool, message: str) -> str:
    """Send a folder to a repository, which is made where there is none; returns the reference of what was sent."""
    hub = extra("huggingface_hub", "hub", "push_to_hub")
    api: Any = hub.HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo, folder_path=str(folder), commit_message=message, allow_patterns=list(FILES)
        )
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise OmnikitError(f"{repo} could not be sent: {reason[:200]}\nCheck the name and your access.") from error
    return f"{HUB}{repo}@{commit.oid}"
