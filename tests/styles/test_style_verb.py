"""`omnikit style`: what it lists, makes, mixes and writes, and what it refuses; style files that speak."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

import omnikit
from omnikit.artefacts import load_component
from omnikit.cli import main
from omnikit.data.corpus import make_corpus
from omnikit.data.media import write_audio
from omnikit.nn.style_mixing import mix_vectors
from omnikit.serving.style_files import read_one_style, read_styles


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    time = torch.arange(16_000) / 16_000
    wave = 0.3 * torch.sin(2 * torch.pi * (140 * time + 30 * time.square()))
    return write_audio(tmp_path_factory.mktemp("voice") / "voice.wav", wave.numpy(), 16_000)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "small"
    make_corpus(folder, hours=0.01, seed=2, processes=1)
    return folder


def test_list_says_what_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "style", "list", "--json")
    listed = json.loads(out)
    module = omnikit.load("tiny#style")
    assert code == 0
    assert listed["component"] == "style/label_centroid" and listed["space_id"] == module.space_id
    assert listed["factors"]["emotion"] == list(module.factors["emotion"])
    assert [row["labels"] for row in listed["seen"]] == module.known_combinations()
    assert len(listed["seen"]) + len(listed["unseen"]) == len(module.counts)
    code, out, _ = told(capsys, "style", "list")
    assert code == 0 and "any number from 0.8 to 1.25" in out and module.space_id in out


def test_mixed_styles_are_spoken(capsys: pytest.CaptureFixture[str], tmp_path: Path, voice: Path) -> None:
    file = tmp_path / "mixed.safetensors"
    code, out, _ = told(capsys, "style", "mix", "emotion=happy:3", f"{voice}:1", "--out", str(file))
    assert code == 0 and "75.0 %" in out and "25.0 %" in out
    system = omnikit.load("tiny")
    ends = [system.style_of({"emotion": "happy"}), system.style_of(reference=voice)]
    wanted = mix_vectors(torch.cat([style.vector for style in ends]), [3, 1])
    torch.testing.assert_close(read_one_style(file).vector[0], wanted, atol=1e-5, rtol=1e-4)

    speak = ["say", "the red star is big.", "--seed", "3"]
    outs = [tmp_path / f"{name}.wav" for name in ("mixed", "again", "heard", "named")]
    for words, path in zip(
        (["--style-file", str(file)], ["--style-file", str(file)], ["--reference", str(voice)], []), outs, strict=True
    ):
        assert main([*speak, *words, "--out", str(path)]) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert len({path.read_bytes() for path in outs}) == 3
    assert all(soundfile.info(path).duration > 0.3 for path in outs)


def test_a_reply_takes_the_style_of_a_recording(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, voice: Path
) -> None:
    words = ["reply", "--text", "what color is the star?", "--reference", str(voice), "--out", str(tmp_path / "x.wav")]
    _, out, _ = told(capsys, *words)  # whether this system finds an answer to that is not the matter here
    assert json.loads(out)["style_decided_by"] == {"vector": "user"}


def test_a_table_goes_out_and_comes_back_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file, part = tmp_path / "table.safetensors", tmp_path / "part"
    assert told(capsys, "style", "export", "--out", str(file))[0] == 0
    assert told(capsys, "style", "import", str(file), "--out", str(part))[0] == 0
    shipped, back = omnikit.load("tiny#style"), load_component(part)
    assert {name: list(values) for name, values in back.factors.items()} == {
        name: list(values) for name, values in shipped.factors.items()
    }
    assert back.scales == shipped.scales and back.space_id == shipped.space_id
    for name, value in shipped.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], value, atol=1e-6, rtol=0)


def test_a_table_with_holes_is_filled_by_its_factors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [{"a": "x", "b": "u"}, {"a": "x", "b": "v"}, {"a": "y", "b": "u"}]
    header = json.dumps({"space_id": "made", "labels": rows})
    vectors = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    save_file({"vectors": vectors}, tmp_path / "t.safetensors", metadata={"omnikit.style": header})
    assert told(capsys, "style", "import", str(tmp_path / "t.safetensors"), "--out", str(tmp_path / "p"))[0] == 0
    part = load_component(tmp_path / "p")
    torch.testing.assert_close(part.from_labels([{"a": "y", "b": "v"}]).vector, torch.tensor([[1.0, 1.0]]))


def test_make_from_labelled_recordings(capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path) -> None:
    words = ["--detokenizer", "tiny", "--corpus", str(corpus), "--seconds", "2"]
    factors = "speaker,emotion,energy"
    out = tmp_path / "table"
    assert told(capsys, "style", "make", "label_centroid", *words, "--factors", factors, "--out", str(out))[0] == 0
    table = load_component(out)
    assert list(table.factors) == factors.split(",")
    assert set(table.factors["speaker"]) <= {"f3", "m3"} and table.factors["energy"][0] == "normal"
    assert table.space_id == omnikit.load("tiny#style").space_id
    assert int(table.counts.sum()) > 0

    out = tmp_path / "reference"
    assert told(capsys, "style", "make", "reference", *words, "--files", "voice.valid", "--out", str(out))[0] == 0
    reference = load_component(out)
    assert float(reference.from_labels([{}]).vector.norm()) > 0.1
    code, text, _ = told(capsys, "style", "list", "--json", "--system", _system_with(reference, tmp_path))
    assert code == 0 and json.loads(text)["takes"] == ["labels", "audio"]


def _system_with(style: object, folder: Path) -> str:
    system = omnikit.load("tiny")
    omnikit.System(system.plan, {**dict(system.parts), "style": style}).save(folder / "system")
    return str(folder / "system")


REFUSED = {
    "unknown label": (["mix", "emotion=sadd", "--out", "{out}"], "Did you mean 'sad'"),
    "no labels": (["mix", "a sad man", "--out", "{out}"], "It takes: labels"),
    "no file": (["mix", "nowhere.wav", "--out", "{out}"], "does not exist"),
    "no style file": (["mix", "nowhere.safetensors", "--out", "{out}"], "does not exist"),
    "weights of nothing": (["mix", "emotion=sad:0", "--out", "{out}"], "not all 0"),
    "negative weight": (["mix", "emotion=sad:-1", "emotion=happy", "--out", "{out}"], "0 or more"),
    "another ending": (["mix", "emotion=sad", "--out", "x.txt"], ".safetensors"),
    "no folder": (["export", "--out", "nowhere/x.safetensors"], "does not exist"),
    "no corpus": (["make", "label_centroid", "--corpus", "nowhere", "--out", "{part}"], "nowhere"),
    "what must learn": (["make", "gmvae", "--corpus", "nowhere", "--out", "{part}"], "stage=style"),
    "no detokenizer": (
        ["make", "reference", "--detokenizer", "tiny#tokenizer", "--corpus", "x", "--out", "{part}"],
        "no detokenizer",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words, said = REFUSED[name]
    places = {"out": tmp_path / "x.safetensors", "part": tmp_path / "part"}
    code, _, err = told(capsys, "style", *(word.format(**places) for word in words))
    assert code == 2 and said in err and len(err.splitlines()) <= 9
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_style_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    words = ["say", "hello", "--style-file", str(path), "--out", str(tmp_path / "x.wav")]
    header = {"omnikit.style": json.dumps({"space_id": "elsewhere"})}
    save_file({"weight": torch.zeros(2)}, path)
    assert "no style file" in told(capsys, *words)[2]
    save_file({"vectors": torch.full((1, 3), torch.nan)}, path, metadata=header)
    assert "finite" in told(capsys, *words)[2]
    save_file({"vectors": torch.zeros(2, 3)}, path, metadata=header)
    assert "table of 2 styles" in told(capsys, *words)[2]
    save_file({"vectors": torch.zeros(1, 3)}, path, metadata=header)
    code, _, err = told(capsys, *words)
    assert code == 2 and "elsewhere" in err and not (tmp_path / "x.wav").exists()
    path.write_bytes(b"junk")
    assert "no readable style file" in told(capsys, *words)[2]


def test_styles_of_two_spaces_are_not_mixed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    header = {"omnikit.style": json.dumps({"space_id": "elsewhere"})}
    save_file({"vectors": torch.ones(1, omnikit.load("tiny#style").dim)}, path, metadata=header)
    code, _, err = told(capsys, "style", "mix", "emotion=sad", str(path), "--out", str(tmp_path / "x.safetensors"))
    assert code == 2 and "elsewhere" in err and "cannot be mixed" in err


def test_a_style_file_holds_data_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    assert told(capsys, "style", "export", "--out", str(path))[0] == 0
    assert set(load_file(path)) == {"vectors", "counts"}
    held = read_styles(path)
    assert len(held.style.labels) == len(held.counts) and held.style.space_id
