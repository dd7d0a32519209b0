"""`tokenizer/ssl_kmeans` keeps the promises of its slot; its units are what k-means and the encoder say."""

from __future__ import annotations

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
from omnikit.artefacts import load_component, read_card
from omnikit.cli import main as omnikit_command
from omnikit.cli.config import compose_config
from omnikit.errors import ContractError, OmnikitError, WeightsError
from omnikit.types import Audio
from omnikit.wiring import Node, Wire, negotiate

MODEL = {"family": "hubert", "dim": 16, "layers": 2, "heads": 2, "ffn_dim": 16, "conv_dim": 8}
SMALL: dict[str, Any] = {"model": MODEL, "num_units": 6, "groups": 2}


def sounds(*num_samples: int) -> Audio:
    time = torch.arange(max(num_samples)) / 16_000
    rows = [
        0.3 * torch.sin(2 * torch.pi * (100 + 90 * row) * (time + 0.2 * time**2)) for row in range(len(num_samples))
    ]
    lengths = torch.tensor(num_samples)
    return Audio(torch.stack(rows) * (torch.arange(len(time)) < lengths[:, None]), lengths, 16_000)


def fitted(**changes: Any) -> Any:
    torch.manual_seed(1)
    tokenizer = omnikit.create("tokenizer/ssl_kmeans", **{**SMALL, **changes}).eval()
    tokenizer.fit_units([sounds(9_000, 16_000)], torch.Generator().manual_seed(0))
    return tokenizer


@pytest.mark.parametrize("changes", [{}, {"reduced": True, "groups": 1}])
def test_conformance(changes: dict[str, Any]) -> None:
    results = omnikit.testing.check("tokenizer/ssl_kmeans", **{**SMALL, **changes})
    assert [str(result) for result in results if result.failed] == []


def test_it_is_listed_without_importing_transformers() -> None:
    code = (
        "import sys, omnikit\nassert 'tokenizer/ssl_kmeans' in omnikit.available('tokenizer')\n"
        "print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_units_are_the_nearest_centroids_of_every_group() -> None:
    tokenizer = fitted()
    audio = sounds(16_000)
    units, features = tokenizer.encode(audio), tokenizer.features(audio).features[0]  # [T, D]
    for group, part in enumerate(features.chunk(2, dim=-1)):
        apart = torch.cdist(part, tokenizer.codebooks[group].detach())
        assert torch.equal(units.codes[0, group], apart.argmin(-1))
    assert units.sizes == (6, 6) and len(units.codes[0, 0].unique()) > 2
    pieces = [tokenizer.codebooks[group, units.codes[0, group]] for group in range(2)]
    assert torch.equal(tokenizer.embed(units).features[0], torch.cat(pieces, -1))


def test_the_fit_lowers_the_distance_and_leaves_the_encoder_alone() -> None:
    torch.manual_seed(1)
    tokenizer = omnikit.create("tokenizer/ssl_kmeans", **SMALL).train()
    before = {name: value.clone() for name, value in tokenizer.encoder.state_dict().items()}
    labels = torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    audio = sounds(9_000, 16_000)
    losses = tokenizer.loss(audio, *labels)
    losses.total.backward()
    assert all(weight.grad is None for weight in tokenizer.encoder.parameters())
    optimizer = torch.optim.SGD([tokenizer.codebooks], 0.5)
    optimizer.step()
    stepped = float(tokenizer.loss(audio, *labels).total.detach())
    assert stepped < float(losses.total.detach())
    tokenizer.fit_units([audio], torch.Generator().manual_seed(0))
    assert float(tokenizer.loss(audio, *labels).total.detach()) < 0.5 * stepped
    assert all(torch.equal(value, before[name]) for name, value in tokenizer.encoder.state_dict().items())


def test_runs_are_merged_on_demand() -> None:
    audio = sounds(16_000)
    plain, merged = fitted().encode(audio), fitted(reduced=True).encode(audio)
    assert merged.durations is not None and int(merged.durations.sum()) == int(plain.lengths[0])
    spelled = merged.codes[0].repeat_interleave(merged.durations[0], dim=1)
    assert torch.equal(spelled, plain.codes[0])


def test_units_of_another_codebook_are_refused() -> None:
    tokenizer = fitted()
    units = omnikit.create("tokenizer/ssl_kmeans", **SMALL, vocab_id="other").eval().encode(sounds(9_000))
    with pytest.raises(WeightsError, match="other"):
        tokenizer.embed(units)


def test_the_command_fits_and_keeps_a_codebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from omnikit_ssl_units.fit import main
    from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = AutoConfig.for_model("wavlm", **sizes, conv_dim=[8] * 7, num_conv_pos_embedding_groups=4)
    AutoModel.from_config(config).save_pretrained(tmp_path / "wavlm")
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / "wavlm")
    (tmp_path / "audio").mkdir()
    for index in range(3):
        wave = sounds(4_000 + 3_000 * index).wave[0].numpy()
        soundfile.write(tmp_path / "audio" / f"{index}.wav", np.repeat(wave, 1 + index % 2), 16_000 * (1 + index % 2))
    words = ["--audio", str(tmp_path / "audio"), "--model", str(tmp_path / "wavlm"), "--dim", "16", "--layer", "0"]
    assert main([*words, "--units", "5", "--out", str(tmp_path / "one")]) == 0
    assert main([*words, "--units", "5", "--out", str(tmp_path / "again")]) == 0
    one, again = load_component(tmp_path / "one"), load_component(tmp_path / "again")
    assert one.vocab_id == again.vocab_id and one.vocab_id.startswith("ssl-kmeans-")
    assert read_card(tmp_path / "one")["provenance"]["seed"] == 0
    assert int(one.encode(sounds(9_000)).codes.max()) > 0
    assert main([*words[:4], "--dim", "24", "--out", str(tmp_path / "no")]) == 2
    assert "16 wide" in capsys.readouterr().err
    assert main(["--audio", str(tmp_path / "nothing"), "--out", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()


def test_variants_compose_and_other_voices_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    node = compose_config("train", ["tokenizer=xlsr_km_groups"])["tokenizer"]
    assert node["component"] == "tokenizer/ssl_kmeans" and (node["num_units"], node["groups"]) == (320, 2)
    words = ["experiment=emova_tiny", "tokenizer=ssl_kmeans_tiny", "detokenizer.layout=frame"]
    assert omnikit_command(["check", *words]) == 0
    assert "25" in capsys.readouterr().out
    voice = {"codebooks": [500], "unit_rate": 50, "layout": "frame", "vocab_id": "tokenizer-0123456789"}
    with pytest.raises(ContractError, match="never the same units"):
        nodes = {"tokenizer": Node("tokenizer/ssl_kmeans"), "detokenizer": Node("detokenizer/uvits", voice)}
        negotiate(nodes, [Wire.parse("tokenizer.units -> detokenizer.units")])


def test_centroids_are_fitted_by_a_stage_and_a_mind_learns_their_units(tmp_path: Path) -> None:
    from omnikit.data.corpus import make_corpus

    make_corpus(tmp_path / "corpus", hours=0.01, seed=3, processes=1)
    words = [
        *("experiment=emova_tiny", "tokenizer=ssl_kmeans_tiny", "detokenizer.layout=frame", "style=none"),
        *("vision_encoder.dim=32", "vision_encoder.depth=1", "backbone.hidden=32", "backbone.layers=1"),
        *("backbone.heads=2", "backbone.kv_heads=1", "backbone.intermediate=32", "trainer.precision=32-true"),
        *("trainer.num_workers=0", "recipe.tokenizer.optim.steps=1", "recipe.tokenizer.batch_s=6"),
        *("recipe.tokenizer.num_valid=2", "recipe.align.optim.steps=1", "recipe.align.batch_tokens=900"),
        *("recipe.align.num_valid_batches=1", "recipe.align.text_vocab=300"),
        *(f"data.path={tmp_path}/corpus", f"out={tmp_path}/run", "--traceback"),
    ]
    assert omnikit_command(["train", "stage=tokenizer", *words]) == 0
    assert omnikit_command(["train", "stage=align", *words]) == 0
    tokenizer = load_component(tmp_path / "run" / "tokenizer" / "parts" / "tokenizer")
    backbone = load_component(tmp_path / "run" / "align" / "parts" / "backbone")
    assert list(backbone.parameters_given["codebooks"]) == [32, 32]
    assert backbone.parameters_given["vocab_id"] == tokenizer.vocab_id != "untrained-ssl-kmeans"


def test_sizes_that_cannot_be_are_refused() -> None:
    for wrong in ({"num_units": 1}, {"groups": 3}, {"groups": 0}):
        with pytest.raises(OmnikitError):
            omnikit.create("tokenizer/ssl_kmeans", **{**SMALL, **wrong})
    with pytest.raises(OmnikitError, match="none were given"):
        omnikit.create("tokenizer/ssl_kmeans", **SMALL).fit_units([], torch.Generator())
