"""`style/ecapa` keeps the promises of its slot, published weights become it, and a voice learns its space."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import omnikit
import omnikit.testing
from omnikit.artefacts import load_component, save_component
from omnikit.cli.config import compose_config
from omnikit.errors import OmnikitError, WeightsError
from omnikit.types import Audio, Style, Units

SMALL = {"dim": 12, "channels": [16, 16, 16, 16, 48], "attention_dim": 8, "num_mels": 20}


def tone(hz: float, samples: int = 16_000, gain: float = 0.3) -> torch.Tensor:
    phase = 2 * torch.pi * hz * torch.arange(samples) / 16_000
    return gain * (torch.sin(phase) + 0.5 * torch.sin(3 * phase))


def test_conformance() -> None:
    assert [str(result) for result in omnikit.testing.check("style/ecapa", **SMALL) if result.failed] == []


def test_it_is_listed_and_described_without_importing_speechbrain() -> None:
    code = (
        "import sys, omnikit\nfrom omnikit.cli.config import compose_config\n"
        "assert 'style/ecapa' in omnikit.available('style')\nprint('speechbrain' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_all_modules_say_where_they_are_once_it_is_imported() -> None:
    code = (
        "import sys, omnikit_speechbrain.ecapa\nfrom speechbrain.utils.importutils import LazyModule\n"
        "files = [(getattr(module, '__file__', None), module) for module in list(sys.modules.values())]\n"
        "print(len([file for file, module in files if file is None and isinstance(module, LazyModule)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0  # modules that were moved, and are imported when they are used


def test_its_variant_composes() -> None:
    node = compose_config("train", ["style=ecapa_voxceleb"])["style"]
    assert node["component"] == "style/ecapa" and node["dim"] == 192 and node["channels"][-1] == 3072


def test_the_level_of_a_recording_hardly_matters() -> None:
    ecapa = omnikit.create("style/ecapa", **SMALL).eval()
    waves = torch.stack([tone(150), 0.5 * tone(150), tone(330)])
    loud, soft, other = ecapa.from_audio(Audio(waves, torch.full((3,), 16_000), 16_000)).vector
    assert float((loud - soft).norm()) < 0.1 * float((loud - other).norm())


def test_a_checkpoint_becomes_a_part(tmp_path: Path) -> None:
    from omnikit_speechbrain.pretrained import main

    torch.manual_seed(3)
    source = omnikit.create("style/ecapa", **SMALL).eval()
    torch.save(source.network.state_dict(), tmp_path / "embedding_model.ckpt")
    out = tmp_path / "part"
    assert main(["--checkpoint", str(tmp_path / "embedding_model.ckpt"), "--out", str(out)]) == 0
    loaded = load_component(out)
    assert {name: loaded.parameters_given[name] for name in SMALL} == SMALL
    assert loaded.space_id.startswith("ecapa-")
    audio = Audio(tone(200)[None], torch.tensor([16_000]), 16_000)
    heard = loaded.from_audio(audio).vector
    assert torch.equal(heard, source.from_audio(audio).vector)
    torch.testing.assert_close(heard.norm(dim=1), torch.ones(1))


@pytest.mark.parametrize("content", [None, b"no checkpoint", b""])
def test_a_bad_checkpoint_is_refused(tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]) -> None:
    from omnikit_speechbrain.pretrained import main

    path = tmp_path / "x.ckpt"
    if content is not None:
        path.write_bytes(content)
    assert main(["--checkpoint", str(path), "--out", str(tmp_path / "part")]) == 2
    assert "x.ckpt" in capsys.readouterr().err
    assert not (tmp_path / "part").exists()


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    from omnikit_speechbrain.pretrained import load_ecapa

    torch.save({"weight": torch.zeros(2)}, tmp_path / "x.ckpt")
    with pytest.raises(WeightsError, match="no checkpoint of SpeechBrain"):
        load_ecapa(tmp_path / "x.ckpt")


def test_without_a_network_fetching_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from omnikit_speechbrain import checkpoints
    from omnikit_speechbrain.pretrained import main

    def fail(*words: str) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(checkpoints, "hf_hub_download", fail)
    for part in ("ecapa", "emotion", "unit_hifigan"):
        assert main([part, "--out", str(tmp_path / "part")]) == 2
        assert "--checkpoint FILE" in capsys.readouterr().err


def test_five_layers_are_needed() -> None:
    with pytest.raises(OmnikitError, match="5 layers"):
        omnikit.create("style/ecapa", channels=[16, 16])


def test_its_vectors_are_refused_by_a_voice_of_another_space() -> None:
    system = omnikit.load("tiny")
    ecapa = omnikit.create("style/ecapa", **SMALL).eval()
    style = ecapa.from_audio(Audio(tone(200)[None], torch.tensor([16_000]), 16_000))
    units = system.hear(Audio(tone(120)[None], torch.tensor([16_000]), 16_000))
    with pytest.raises(OmnikitError, match="space"):
        system.speak(units, style)


# ---- a voice of its space

VOICE = {
    "layout": "frame",
    "sample_rate": 16_000,
    "head": "istft",
    "spectrogram": {"fft_size": 512, "hop_size": 128, "num_mels": 20, "max_hz": 8000.0},
    "unit_encoder": {"symbol_offset": 0, "hidden_dim": 16, "filter_dim": 16, "num_layers": 1},
    "latent": {"dim": 8, "hidden_dim": 16, "posterior_layers": 1, "flow_layers": 1, "num_flows": 1},
    "duration": {"filter_dim": 16},
    "istft": {"hidden_dim": 16, "ffn_dim": 16, "num_layers": 1},
    "discriminator": {
        "scale_channels": [4, 4, 4, 4, 4, 4],
        "scale_groups": [1, 1, 1, 1, 1, 1],
        "period_channels": [4, 4, 4],
        "periods": [2, 3],
    },
    "objective": {"segment_frames": 8},
}
SETTINGS = {
    "batch_s": 1.0,
    "num_valid_batches": 1,
    "average_keep": 0.0,
    "style_weight": 1.0,
    "optim": {"lr": 1e-3, "steps": 2},
    "adversary": {"start": 1},
    "media": {"num_items": 1, "num_kept": 1},
}


ENDS = ("tokenizer.units", "style.style")


class Known:
    """A tokenizer whose units are all in the store."""

    vocab_id = "units-1"


def parallel_tones(folder: Path) -> None:
    """A corpus of one canonical voice and its renderings: two to learn, one to be validated on."""
    from omnikit.data.units import UnitStore

    for number, (split, hz) in enumerate((("train", 200.0), ("train", 500.0), ("valid", 500.0))):
        ends = {}
        for end, pitch in (("c", 120.0), ("s", hz)):
            ends[end] = {"path": f"{number}{end}.wav", "sample_rate": 16_000, "duration_s": 0.4}
            ends[end]["phones"] = [["ah", 0.0, 0.4]]
            soundfile.write(folder / f"{number}{end}.wav", tone(pitch, 6_400).numpy(), 16_000)
        rendering = {"audio": ends["s"], "style": {"pitch": "normal"}}
        message = {"role": "assistant", "text": "a", "audio": ends["c"], "rendering": rendering}
        record = {"id": str(number), "task": "voice", "split": split, "origin": "tones", "messages": [message]}
        with (folder / f"voice.{split}.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
    UnitStore(folder, "units-1").add({f"{number}c.wav": np.full((1, 10), number) for number in range(3)})


def test_a_voice_is_trained_on_what_it_hears(tmp_path: Path) -> None:
    import lightning
    from torch.utils.data import DataLoader

    from omnikit.training.job import Context
    from omnikit.training.speech_jobs import detokenizer_job
    from omnikit.wiring import Node, Wire, negotiate

    parallel_tones(tmp_path)
    torch.manual_seed(3)
    space = {**SMALL, "space_id": "ecapa-0"}
    nodes = {
        "tokenizer": Node("tokenizer/spiral_fsq", {"levels": [4, 4], "vocab_id": "units-1", "reduced": False}),
        "style": Node("style/ecapa", space),
        "detokenizer": Node("detokenizer/uvits", VOICE),
    }
    plan = negotiate(nodes, [Wire.parse(f"{end} -> detokenizer.{end.split('.')[1]}") for end in ENDS])
    ecapa = omnikit.create("style/ecapa", **space).requires_grad_(False)
    voice = omnikit.create("detokenizer/uvits", **plan.parameters["detokenizer"])
    parts: dict[str, Any] = {"tokenizer": Known(), "style": ecapa, "detokenizer": voice}
    weights = {"style": tmp_path}  # as if its weights were trained
    context = Context({"stage": {"half": True}}, SETTINGS, plan, parts, weights, tmp_path, tmp_path / "run", 0, 0)
    job = detokenizer_job(context)
    trainer = lightning.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=list(job.callbacks),
    )
    trainer.fit(job.module, *(DataLoader(data, batch_size=None) for data in (job.train, job.valid)))
    done = job.finish()
    for name, part in done.items():
        save_component(part, tmp_path / name, half=True)
    voice, ecapa = load_component(tmp_path / "detokenizer"), load_component(tmp_path / "style")
    assert voice.style_space == ecapa.space_id == "ecapa-0"
    waves = torch.stack([tone(200.0, 6_400), tone(500.0, 6_400)])
    heard = ecapa.from_audio(Audio(waves, torch.full((2,), 6_400), 16_000)).vector
    told = job.train.told.vectors
    for number in range(2):  # a recording that is shown gives the vector that was learnt with it
        torch.testing.assert_close(heard[number], torch.from_numpy(told[f"{number}s.wav"]), atol=1e-3, rtol=0)
    torch.testing.assert_close(ecapa.from_labels([{}]).vector[0], heard.mean(0), atol=2e-3, rtol=0)
    units = Units(torch.zeros(1, 1, 4, dtype=torch.long), torch.tensor([4]), (16,), Fraction(25), "units-1", "frame")
    assert voice.decode(units, ecapa.from_labels([{}]), torch.Generator()).wave.isfinite().all()
    with pytest.raises(OmnikitError, match="'elsewhere', the detokenizer takes 'ecapa-0'"):
        voice.decode(units, Style(vector=heard[:1], space_id="elsewhere"), torch.Generator())
