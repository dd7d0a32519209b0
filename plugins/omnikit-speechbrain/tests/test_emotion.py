"""`input_style/emotion_wav2vec2`: the promises of its slot, SpeechBrain's numbers, weights, and what it hears."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import omnikit
import omnikit.testing
from omnikit.artefacts import load_component, read_card, save_component
from omnikit.cli.config import compose_config
from omnikit.errors import OmnikitError, WeightsError
from omnikit.types import Audio

MODEL = {"family": "wav2vec2", "dim": 16, "layers": 1, "heads": 2, "ffn_dim": 16, "conv_dim": 8}
SMALL: dict[str, Any] = {"model": MODEL}


def tone(num_samples: int, hz: float) -> torch.Tensor:
    time = torch.arange(num_samples) / 16_000
    return 0.3 * torch.sin(2 * torch.pi * hz * (time + 0.1 * time**2)) + 0.1 * torch.sin(2 * torch.pi * 5 * hz * time)


def audio(*waves: torch.Tensor) -> Audio:
    lengths = torch.tensor([len(wave) for wave in waves])
    return Audio(torch.nn.utils.rnn.pad_sequence(list(waves), batch_first=True), lengths, 16_000)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of SpeechBrain's recogniser and of the model it was tuned from, small, with random weights."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    folder, base = tmp_path_factory.mktemp("iemocap"), tmp_path_factory.mktemp("base")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = Wav2Vec2Config(**sizes, conv_dim=[8] * 7, num_conv_pos_embedding_groups=4, num_conv_pos_embeddings=16)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model, head = Wav2Vec2Model(config), torch.randn(4, 16)
    model.save_pretrained(base)
    for place in (base, folder):
        config.save_pretrained(place)
        Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(place)
    torch.save({f"model.{name}": value for name, value in model.state_dict().items()}, folder / "wav2vec2.ckpt")
    torch.save({"0.w.weight": head}, folder / "model.ckpt")
    lines = ["'neu' => 0", "'ang' => 1", "'hap' => 2", "'sad' => 3", "================", "'starting_index' => 0"]
    (folder / "label_encoder.txt").write_text("\n".join(lines))
    (folder / "base").symlink_to(base)
    return folder


@pytest.fixture(scope="module")
def part(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of them."""
    from omnikit_speechbrain.pretrained import main

    out = tmp_path_factory.mktemp("part") / "emotion"
    assert main(["emotion", "--checkpoint", str(repository), "--out", str(out)]) == 0
    return out


def test_conformance() -> None:
    results = omnikit.testing.check("input_style/emotion_wav2vec2", **SMALL)
    assert [str(result) for result in results if result.failed] == []


def test_it_is_listed_without_importing_speechbrain() -> None:
    code = (
        "import sys, omnikit\nassert 'input_style/emotion_wav2vec2' in omnikit.available('input_style')\n"
        "assert 'detokenizer/unit_hifigan' in omnikit.available('detokenizer')\nprint('speechbrain' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_probabilities_are_those_of_speechbrain(repository: Path, part: Path) -> None:
    from speechbrain.integrations.huggingface.wav2vec2 import Wav2Vec2
    from speechbrain.nnet.linear import Linear
    from speechbrain.nnet.pooling import StatisticsPooling

    theirs = Wav2Vec2(str(repository / "base"), str(repository), output_norm=True).eval()
    pool, head = StatisticsPooling(return_std=False), Linear(input_size=16, n_neurons=4, bias=False)
    head.load_state_dict({"w.weight": torch.load(repository / "model.ckpt", weights_only=True)["0.w.weight"]})
    recogniser, waves = load_component(part), [tone(16_000, 140.0), tone(9_000, 330.0)]
    found = recogniser.probabilities(audio(*waves))
    for row, wave in enumerate(waves):
        with torch.no_grad(), torch.random.fork_rng():
            expected = head(pool(theirs(wave[None])))[0, 0].softmax(-1)
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-3)
    assert float((found[0] - found[1]).abs().max()) > 0.01


def test_a_published_recogniser_becomes_a_part(part: Path) -> None:
    recogniser, card = load_component(part), read_card(part)
    assert recogniser.factors == {"emotion": ("neutral", "angry", "happy", "sad")}
    assert card["provenance"]["licence"] == "Apache-2.0"
    assert recogniser.read(audio(tone(9_000, 200.0)))[0].text in recogniser.texts()


def test_bad_files_are_refused(repository: Path, tmp_path: Path) -> None:
    from omnikit_speechbrain.pretrained_emotion import load_emotion

    with pytest.raises(WeightsError, match="lacks wav2vec2"):
        load_emotion(tmp_path)
    for name in ("wav2vec2.ckpt", "model.ckpt", "label_encoder.txt", "config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((repository / name).read_bytes())
    (tmp_path / "label_encoder.txt").write_text("'neu' => 0\n'ang' => 1\n")
    with pytest.raises(WeightsError, match="2 labels for a classifier of 4"):
        load_emotion(tmp_path)
    (tmp_path / "label_encoder.txt").write_text("neutral, angry")
    with pytest.raises(WeightsError, match="numbers no labels"):
        load_emotion(tmp_path)


def test_it_learns_emotions_from_recordings() -> None:
    torch.manual_seed(1)
    recogniser = omnikit.create("input_style/emotion_wav2vec2", **SMALL).train()
    optimizer = torch.optim.AdamW(recogniser.parameters(), 5e-3)
    heard, found = audio(tone(8_000, 120.0), tone(8_000, 900.0), tone(8_000, 400.0)), []
    labels = [{"emotion": "sad"}, {"emotion": "happy"}, {"emotion": "bored"}]
    for _ in range(8):
        losses = recogniser.loss(heard, labels)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        found.append(float(losses.total.detach()))
    assert found[-1] < 0.7 * found[0]
    assert losses.parts["emotion"] == 1.0
    with pytest.raises(OmnikitError, match="has one of the emotions"):
        recogniser.loss(heard, [{"pitch": "low"}] * 3)


def test_what_is_heard_is_counted_by_what_was_meant(part: Path, tmp_path: Path, capsys: Any) -> None:
    from omnikit_speechbrain.emotions_heard import Heard, main

    recogniser, expected = load_component(part), {}
    for number, (meant, hz) in enumerate([("happy", 300.0), ("happy", 700.0), ("sad", 120.0)]):
        (tmp_path / "takes" / meant).mkdir(parents=True, exist_ok=True)
        wave = tone(8_000 + 1_000 * number, hz)
        soundfile.write(tmp_path / "takes" / meant / f"{number}.wav", wave.numpy(), 16_000, subtype="FLOAT")
        place = int(recogniser.probabilities(audio(wave)).argmax())
        row = expected.setdefault(meant, dict.fromkeys(recogniser.emotions, 0))
        row[recogniser.emotions[place]] += 1
    assert main([str(part), "--audio", str(tmp_path / "takes"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["counts"] == expected
    assert said["recall"] == np.mean([expected["happy"]["happy"] / 2, expected["sad"]["sad"]])
    table = Heard({"sad": {"happy": 1, "sad": 3}, "happy": {"happy": 2, "sad": 0}}).markdown()
    assert "| sad | 1 | 3 | 75.0 % [30.1, 95.4] (n=4) |" in table and "average recall: 87.5 %" in table
    (tmp_path / "takes" / "sad").rename(tmp_path / "takes" / "tired")
    assert main([str(part), "--audio", str(tmp_path / "takes")]) == 2
    assert "folders named neutral" in capsys.readouterr().err
    save_component(omnikit.create("projector/mlp", in_dim=4, out_dim=4), tmp_path / "other")
    assert main([str(tmp_path / "other"), "--audio", str(tmp_path / "takes")]) == 2


def test_choices_that_cannot_be_are_refused() -> None:
    for wrong in ({"emotions": ["sad"]}, {"emotions": ["sad", "sad"]}, {"model": {**MODEL, "family": "whisper"}}):
        with pytest.raises(OmnikitError):
            omnikit.create("input_style/emotion_wav2vec2", **{**SMALL, **wrong})


def test_its_variant_composes() -> None:
    node = compose_config("train", ["input_style=emotion_wav2vec2_iemocap"])["input_style"]
    assert node["component"] == "input_style/emotion_wav2vec2" and node["model"]["dim"] == 768
