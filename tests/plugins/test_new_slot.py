"""A slot that another distribution brings: its class, its promises and its wires, with nothing changed in omnikit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SITE = Path(__file__).parent / "new_slot"


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SITE), **variables}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)


def test_it_is_listed_described_and_made() -> None:
    code = (
        "import omnikit\nfrom omnikit import registry\nassert registry.slots()[-1] == 'watermark'\n"
        "assert omnikit.available('watermark') == ['watermark/spread']\n"
        "made = omnikit.create('watermark/spread', sample_rate=8000)\n"
        "print(made.strength, omnikit.describe('watermark/spread').contract.gives['audio'])"
    )
    assert run("-c", code).stdout.strip() == "0.02 audio(sample_rate=<sample_rate>)"


def test_its_promises_are_held() -> None:
    done = run("-m", "omnikit", "conformance", "watermark/spread", "key=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ finds_its_mark_and_no_other" in done.stdout and "✓ is_saved_and_loaded_whole" in done.stdout
    done = run("-m", "omnikit", "conformance", "watermark/spread", "strength=0.0")
    assert done.returncode == 3 and "it must be found" in done.stdout


def test_it_is_composed_and_wired() -> None:
    words = ["experiment=emova_tiny", "system=emova_marked", "watermark=spread_7", "watermark.strength=0.03"]
    done = run("-m", "omnikit", "check", *words)
    assert done.returncode == 0, done.stderr
    assert "audio ── audio(sample_rate=16000) ──> [watermark].audio" in done.stdout
    assert "watermark.sample_rate" in done.stdout.split("derived")[1]
    done = run("-m", "omnikit", "check", "experiment=emova_tiny", "system=emova_marked", "watermark=spread_8")
    assert done.returncode == 2 and "Did you mean 'spread_7'?" in done.stderr


def test_without_its_distribution_it_is_not_there() -> None:
    done = run("-m", "omnikit", "ls", "watermark", OMNIKIT_PLUGINS="none")
    assert done.returncode == 2 and "Unknown slot 'watermark'" in done.stderr
    done = run("-m", "omnikit", "check", "experiment=emova_tiny", "system=emova_marked", OMNIKIT_PLUGINS="none")
    assert done.returncode == 2
