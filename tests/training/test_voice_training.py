"""The voice trains through the real command: in both layouts, on two processes as on one, and after interruptions."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file
from training.conftest import SMALL
from training.processes import two_processes
from training.test_pretraining import curve
from training.test_processes import RUN

from omnikit.artefacts import read_card
from omnikit.cli import main
from omnikit.training import progress

VOICE = [
    *SMALL,
    "stage.half=false",
    "recipe.detokenizer.batch_s=6",
    "recipe.detokenizer.average_keep=0.9",
    "detokenizer.objective.segment_frames=16",
    "detokenizer.objective.stft_sizes=[512]",
    "detokenizer.discriminator.scale_channels=[4,4,4,4,4,4]",
    "detokenizer.discriminator.scale_groups=[1,1,1,1,1,1]",
    "detokenizer.discriminator.period_channels=[4,4,4]",
]
LOSSES = ("loss", "mel", "stft", "kl", "duration", "discriminator", "generator", "feature", "valid_loss", "valid_mel")
CHOSEN = {"frame": (), "reduced": ("tokenizer=spiral_fsq_tiny_reduced", "detokenizer=uvits_tiny_reduced")}


def words(stage: str, corpus: Path, out: Path, *more: str) -> list[str]:
    return ["train", *VOICE, f"stage={stage}", f"data.path={corpus}", f"out={out}", *more, "--traceback"]


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "detokenizer" / "parts" / "detokenizer" / "model.safetensors")


@pytest.fixture(scope="module", params=CHOSEN)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def choice(layout: str, small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What a voice of that layout is asked for with, beside a tokenizer that was trained for it."""
    out = tmp_path_factory.mktemp("tokenizer")
    assert main(words("tokenizer", small_corpus, out, *CHOSEN[layout])) == 0
    return *CHOSEN[layout], f"tokenizer.weights={out / 'system'}"


@pytest.fixture(scope="module")
def whole(small_corpus: Path, choice: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupts, validated at every step."""
    out = tmp_path_factory.mktemp("whole")
    kept = ("trainer.valid_every=1", "recipe.detokenizer.media.num_kept=2")
    assert main(words("detokenizer", small_corpus, out, *choice, *kept)) == 0
    return out


def test_it_is_heard_and_seen_while_it_trains(whole: Path, small_corpus: Path) -> None:
    media = whole / "detokenizer" / "media"
    assert sorted(step.name for step in media.iterdir()) == ["step_3", "step_4"]
    for step in media.iterdir():
        names = {f"{number}{end}" for number in (0, 1) for end in ("_recorded.wav", "_made.wav", ".png")}
        assert {file.name for file in step.iterdir()} == names
        recorded, made = (soundfile.read(step / f"1_{name}.wav")[0] for name in ("recorded", "made"))
        assert len(recorded) == len(made) and abs(made).max() > 0
    early, late = (soundfile.read(media / f"step_{step}" / "0_made.wav")[0] for step in (3, 4))
    assert (early != late).any()


class _Stop(Exception):
    pass


def test_an_interrupted_run_goes_on_exactly(
    whole: Path, small_corpus: Path, choice: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = progress.Saver.save

    def save_then_die(self: progress.Saver, trainer: object) -> None:
        save(self, trainer)
        if trainer.fit_loop.epoch_loop.batch_progress.current.ready == 3:  # type: ignore[attr-defined]
            raise _Stop

    asked = words("detokenizer", small_corpus, tmp_path, *choice, "trainer.valid_every=1")
    monkeypatch.setattr(progress.Saver, "save", save_then_die)
    with pytest.raises(_Stop):
        main([*asked, "trainer.checkpoint_minutes=0"])
    left = tmp_path / "detokenizer" / "media" / ".writing-left"
    left.mkdir(parents=True)
    monkeypatch.setattr(progress.Saver, "save", save)
    assert main([*asked, "recipe.detokenizer.media.num_items=1"]) == 0  # pictures do not change what is learnt
    assert not left.exists()
    folders = (whole / "detokenizer", tmp_path / "detokenizer")
    for name in ("loss", "discriminator", "generator"):
        unbroken, resumed = (curve(folder, name) for folder in folders)
        assert resumed[-1] == unbroken[-1], name
    for name, value in weights_of(whole).items():
        torch.testing.assert_close(weights_of(tmp_path)[name], value, rtol=1e-6, atol=1e-8, msg=name)


@pytest.fixture(scope="module")
def folders(small_corpus: Path, choice: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same training by one process and by two: batches of two rows, and of one in validation, an empty share."""
    one, two = (tmp_path_factory.mktemp("processes") / name for name in ("one", "two"))
    undropped = ("detokenizer.unit_encoder.dropout=0", "detokenizer.duration.dropout=0", "trainer.accelerator=cpu")
    shared = words("detokenizer", small_corpus, two, *choice, *undropped, "trainer.devices=2")
    with two_processes(RUN, " ".join(shared)) as started:
        alone = words("detokenizer", small_corpus, one, *choice, *undropped, "trainer.devices=1")
        assert main(alone) == 0
        for process in started:
            said, _ = process.communicate(timeout=240)
            assert process.returncode == 0, said
    return one, two


def test_two_processes_teach_both_players_what_one_does(folders: tuple[Path, Path]) -> None:
    one, two = folders
    for name in LOSSES:
        alone, shared = (
            torch.tensor([float(value) for value in curve(folder / "detokenizer", name)]) for folder in folders
        )
        assert len(alone), name
        torch.testing.assert_close(shared, alone, rtol=1e-4, atol=1e-6, msg=lambda told, name=name: f"{name}: {told}")
    trained = weights_of(two)
    apart = torch.cat([(trained[name] - value).abs().flatten() for name, value in weights_of(one).items()])
    assert (apart < 1e-6).float().mean() > 0.98  # where a gradient is nothing but rounding, AdamW makes steps of it
    assert apart.max() < 1e-4
    pictures = [sorted(file.name for file in (folder / "detokenizer" / "media").rglob("*")) for folder in folders]
    assert pictures[0] == pictures[1] and pictures[0]


@pytest.mark.parametrize("layout", ["reduced"], indirect=True)
def test_merged_units_find_their_own_durations_in_mixed_precision(
    choice: tuple[str, ...], small_corpus: Path, tmp_path: Path
) -> None:
    asked = ["recipe.detokenizer.optim.steps=3", "trainer.valid_every=3", "recipe.detokenizer.average_keep=0"]
    assert main(words("detokenizer", small_corpus, tmp_path, *choice, *asked, "trainer.precision=bf16-mixed")) == 0
    values = [float(value) for name in LOSSES for value in curve(tmp_path / "detokenizer", name)]
    assert torch.tensor(values).isfinite().all()
    stored = weights_of(tmp_path)
    assert all(value.isfinite().all() and value.dtype == torch.float32 for value in stored.values())
    assert any(name.startswith("dp.post_flows.") for name in stored)
    assert list((tmp_path / "detokenizer" / "media" / "step_3").glob("*.png"))


@pytest.mark.parametrize("layout", ["frame"], indirect=True)
def test_a_voice_without_style_trains_alone(choice: tuple[str, ...], small_corpus: Path, tmp_path: Path) -> None:
    told = words("detokenizer", small_corpus, tmp_path, *choice, "style=none")
    assert main([word for word in told if not word.startswith("style.")]) == 0
    assert curve(tmp_path / "detokenizer", "mel") and not curve(tmp_path / "detokenizer", "style")
    assert not [name for name in weights_of(tmp_path) if name.startswith("enc_r")]
    assert read_card(tmp_path / "system" / "style")["id"] == "style/none"
