"""The command line: what it prints, what it refuses, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from omnikit.cli import main


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_ls(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "ls", "tokenizer", "--json")
    assert code == 0
    listed = {item["id"]: item for item in json.loads(out)}
    assert listed["tokenizer/spiral_fsq"] == {
        "id": "tokenizer/spiral_fsq",
        "target": "omnikit.tokenizers.spiral_fsq:SpiralFSQ",
        "distribution": "omnikit-core",
        "version": "0.1.0",
        "broken": "",
    }


def test_ls_imports_nothing_heavy() -> None:
    code = (
        "import sys; from omnikit.cli import main; main(['ls']); print('torch' in sys.modules, 'hydra' in sys.modules)"
    )
    own = {**os.environ, "OMNIKIT_PLUGINS": "none"}  # what others bring is imported, to see whether it can be
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=own)
    assert done.stdout.splitlines()[-1] == "False False"


def test_describe(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "describe", "tokenizer/spiral_fsq")
    assert code == 0
    assert "needs audio: audio(sample_rate=16000)" in out
    assert "gives units: units(codebooks=[4096], rate=25" in out


def test_check_draws_rates_and_explains(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "check", "experiment=emova_tiny")
    assert code == 0
    assert "units(codebooks=[4096], rate=25, layout=frame" in out
    assert "backbone.codebooks" in out and "from tokenizer.units.codebooks" in out


def test_overrides_stand_before_and_after_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "experiment=emova_tiny", "--json", "style=none"]) == 0
    assert json.loads(capsys.readouterr().out)["components"]["style"] == "style/none"


def test_swapping_by_hydra_choices(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "check", "experiment=emova_tiny", "style=none", "tokenizer.levels=[5,5,5]", "--json")
    assert code == 0
    derived = {item["parameter"]: item["value"] for item in json.loads(out)["derived"]}
    assert derived["detokenizer.style_dim"] == "0"
    assert derived["backbone.codebooks"] == "[125]"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["lss"], "Did you mean 'ls'?"),
        (["ls", "tokeniser"], "Did you mean 'tokenizer'?"),
        (["describe", "tokenizer/spiral"], "Did you mean 'tokenizer/spiral_fsq'?"),
        (["check", "tokenizer=spiral_fsk"], "Did you mean 'spiral_fsq'?"),
        (["check", "tokenizer.levls=[5]"], "Did you mean 'tokenizer.levels'?"),
        (["check", "+tokenizer.levls=[5]"], "Did you mean 'tokenizer.levels'?"),
        (["check", "+modle.lr=1"], "Unknown config key 'modle.lr'"),
        (["check", "experiment=emova_tny"], "Did you mean 'emova_tiny'?"),
        (["check", "~tokenizer.levels"], "would delete"),
        (["check", "tokenizer.levels=[5"], "cannot be read"),
        (["check", "experiment=emova_tiny", "detokenizer.layout=reduced"], "Fits with: detokenizer.layout=frame"),
        (["say", "hello", "--out", "x.mp3"], ".wav or .flac"),
        (["say", "hello", "--out", "x.wav", "--style", "emotion"], "factor=value"),
        (["say", "hello", "--out", "no/such/folder/x.wav"], "does not exist"),
        (["reply", "--out", "x.wav"], "--audio FILE or as --text"),
        (["train", "experiment=emova_tiny", "data.path=/no/such/corpus"], "omnikit data make"),
    ],
)
def test_bad_input_is_one_short_message_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    code, _, err = told(capsys, *words)
    assert code == 2
    assert expected in err
    if words[0] != "lss":
        assert len(err.strip().splitlines()) <= 8


def test_a_sweep_gives_every_run_a_folder_of_its_own() -> None:
    from omnikit.cli.config import sweep

    configs = sweep("train", ["experiment=emova_tiny", "style=none,label_centroid", "seed=0,1"])
    assert len(configs) == 4
    assert len({config["out"] for config in configs}) == 4
    assert [config["seed"] for config in configs] == [0, 1, 0, 1]
    globbed = sweep("train", ["experiment=emova_tiny", "style=glob(*)"])
    assert {config["style"]["component"] for config in globbed} >= {"style/none", "style/label_centroid"}


def test_who_stops_reading_sees_no_traceback() -> None:
    words = [sys.executable, "-m", "omnikit", "ls", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")
