"""Of several processes that want the units of the same recordings, one makes them; the others wait for its files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import omnikit
from omnikit.artefacts import save_component
from omnikit.data import units
from omnikit.data.units import UnitStore
from omnikit.errors import DataError

SMALL = {
    "num_mels": 16,
    "widths": [8, 12, 16, 12],
    "layers": [1, 1],
    "heads": [2, 3],
    "ffn_ratio": 2,
    "position": [8, 4],
    "levels": [5, 4],
    "num_phones": 6,
    "decoder_dim": 8,
}
EXTRACT = """
import sys, time
from pathlib import Path
import omnikit
from omnikit.training import extract

tokenizer, corpus = omnikit.load(sys.argv[1]), Path(sys.argv[2])
audio = {path.name: 0.5 for path in sorted(corpus.glob("*.wav"))}
own = extract.encode_waves

def slowly(*args):
    time.sleep(1.0)  # long enough for the others to arrive
    return own(*args)

extract.encode_waves = slowly
print("ready", flush=True)
sys.stdin.readline()
store = extract.extract_units(tokenizer, corpus, audio, batch_s=1.0)
print("has", len([path for path in audio if path in store]), flush=True)
"""
PROCESSES = 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for number in range(4):
        soundfile.write(folder / f"{number}.wav", 0.2 * rng.standard_normal(8000), 16_000)
    return folder


def test_only_one_process_extracts_and_all_have_the_units(corpus: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = omnikit.create("tokenizer/spiral_fsq", **SMALL, reduced=True, vocab_id="small").eval()
    save_component(tokenizer, tmp_path / "tokenizer")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", EXTRACT, str(tmp_path / "tokenizer"), str(corpus)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    try:
        for process in started:  # all are there before any begins
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [process.communicate(timeout=600) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * PROCESSES, told
    assert [out for out, _ in told] == ["has 4\n"] * PROCESSES
    assert sum("extracting units of 4 recordings" in error for _, error in told) == 1
    store = UnitStore(corpus, "small")
    assert not store.missing([f"{number}.wav" for number in range(4)])


def test_a_store_that_is_being_written_is_read_when_both_files_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = UnitStore(tmp_path, "small")
    store.add({"a.wav": np.zeros((1, 3), dtype=np.int32)})
    earlier = (store.folder / units.PATHS).read_text()
    store.add({"b.wav": np.ones((1, 2), dtype=np.int32)})
    later = (store.folder / units.PATHS).read_text()
    (store.folder / units.PATHS).write_text(earlier)  # the writer has replaced the arrays, and not yet the paths
    monkeypatch.setattr(units.time, "sleep", lambda _: (store.folder / units.PATHS).write_text(later))
    assert list(UnitStore(tmp_path, "small")) == ["a.wav", "b.wav"]
    (store.folder / units.PATHS).write_text(earlier)
    monkeypatch.setattr(units.time, "sleep", lambda _: None)
    with pytest.raises(DataError, match="1 recordings are named, 2 are there"):
        UnitStore(tmp_path, "small")
