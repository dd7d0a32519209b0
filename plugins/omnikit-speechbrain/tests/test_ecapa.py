"""`style/ecapa` keeps the promises of its slot, and published weights find their way into it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import omnikit
import omnikit.testing
from omnikit.artefacts import load_component
from omnikit.cli.config import compose_config
from omnikit.errors import OmnikitError, WeightsError
from omnikit.types import Audio

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
    assert torch.equal(loaded.from_audio(audio).vector, source.from_audio(audio).vector)


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
