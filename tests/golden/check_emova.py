"""A whole published system: loaded from a folder in its own layout, held against what the published code computes.

Letters: B rows, L positions, P patches, W width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import translate
from pathlib import Path
from re import fullmatch
from tempfile import TemporaryDirectory
from typing import Any

import torch
from published.origin import every_id_a_unit, write_origin
from torch import Tensor, nn
from torch.nn import functional as F

import omnikit
from golden.check_sequences import IGNORED, IMAGE, segments
from golden.compare import Golden, checks
from omnikit.backbones.lora import LINEARS
from omnikit.cli.config import compose_config
from omnikit.published.emova import PROJECTOR, TOWER
from omnikit.slots.backbone import Segment
from omnikit.stages.language import LanguageStage
from omnikit.stages.optim import Optim
from omnikit.system import System
from omnikit.training.choices import plan_of
from omnikit.training.memory import skeleton

STAGES = {"stage1": "prealign", "stage2": "align", "stage3": "sft"}
PARTS = {"vision_encoder.net.": TOWER, "projector.": PROJECTOR, "backbone.": ""}
"""How our names of tensors begin in a stage, and how the published ones do."""


def theirs(name: str) -> str:
    """The published name of a tensor of ours."""
    return next(begin + name.removeprefix(ours) for ours, begin in PARTS.items() if name.startswith(ours))


def load_tiny(golden: Golden, folder: Path) -> System:
    """The system of `omni/tiny_emova_qwen2` from its folder; all its token ids are units."""
    meta = golden.meta
    write_origin(
        folder,
        golden.state("sd/"),
        meta["llm"],
        meta["vit"]["num_heads"],
        every_id_a_unit(meta["llm"]["vocab_size"]),
        max_length=meta["model_max_length"],
        template=None,
        shards=3,
    )
    return omnikit.load(str(folder))


@checks("omni/tiny_emova_qwen2")
@torch.no_grad()
def tiny(golden: Golden) -> None:
    with TemporaryDirectory() as made:
        system = load_tiny(golden, Path(made) / "tiny")
    golden.equal("keys", sorted(golden.state("sd/")), sorted(golden.meta["keys"]))
    pictures = features_of(golden, system)
    for number, picture in enumerate(pictures):
        golden.close(f"image_features/{number}", picture)
    backbone, merged = system.part("backbone"), golden["merged_mask"].bool()
    embeds, logits = torch.zeros_like(golden["inputs_embeds"]), torch.zeros_like(golden["logits"])
    labels, left, each = golden["merged_labels"], iter(pictures), []
    for row, (ids, seen) in enumerate(zip(golden["input_ids"], golden["attention_mask"].bool(), strict=True)):
        read = embeds_of(backbone, segments(ids[seen].tolist(), [False] * int(seen.sum()), left))  # [L, W]
        if IMAGE not in ids:
            next(left)  # the published code spends a dummy picture on a text without any
        hidden = backbone.model(inputs_embeds=read[None]).last_hidden_state
        told = F.linear(hidden[0], backbone.lm_head.weight)[:, : logits.shape[-1]]  # [L, V]
        embeds[row, merged[row]], logits[row, merged[row]] = read, told
        target = labels[row][merged[row]][1:]
        each.append(F.cross_entropy(told[:-1], target, ignore_index=IGNORED, reduction="none")[target != IGNORED])
    golden.close("inputs_embeds", embeds)
    golden.close("logits", logits, valid=merged.unsqueeze(-1))
    golden.close("loss", torch.cat(each).mean()[None])
    golden.equal("labels", golden["labels"][golden["labels"] != IGNORED].tolist(), labels[labels != IGNORED].tolist())
    ids = golden["input_ids"][0][golden["attention_mask"][0].bool()].tolist()
    prompt = segments(ids, [False] * len(ids), iter(pictures))
    (written,) = backbone.generate([prompt], generator=torch.Generator(), max_new_tokens=8)
    golden.exact("greedy_new_tokens", torch.tensor([list(written.ids)]))


def features_of(golden: Golden, system: System) -> list[Tensor]:
    """Projected features of every picture, from the published patches."""
    encoder, projector = system.part("vision_encoder"), system.part("projector")
    grids = [(rows, columns) for _, rows, columns in golden["image_grid_thw"].tolist()]
    (hidden,) = encoder.hidden_states(golden["pixel_values"], grids, [encoder.layer])
    embeds = nn.Sequential(*projector.children())(encoder.net.merger(hidden))
    return list(embeds.split([rows * columns // encoder.merge**2 for rows, columns in grids]))


def embeds_of(backbone: Any, row: Sequence[Segment]) -> Tensor:
    """What the language model reads of a row of units and features, [L, W]."""
    table = backbone.model.get_input_embeddings().weight
    found = [table[backbone.units.ids(item.units)] if item.units else item.frames for item in row]
    return torch.cat([item for item in found if item is not None])


@checks("omni/trainable")
def trainable(golden: Golden) -> None:
    """What learns in every published stage, and how fast, by the recipe of the presets."""
    small = Golden("omni/tiny_emova_qwen2", golden.folder)
    for stage, entry in golden.meta.items():
        with TemporaryDirectory() as made:
            system = load_tiny(small, Path(made) / "tiny")
        name = STAGES[stage]
        settings = compose_config("train", ["experiment=emova_3b", f"stage={name}"])["stage"]["settings"]
        half = settings["vision_from"] / compose_config("train", ["experiment=emova_3b"])["vision_encoder"]["depth"]
        block = int(half * entry["vit_depth"])
        golden.equal(f"{stage} block", block, entry["settings"]["vision"].get("tune_vit_from_layer", 0))
        parts = [system.part(slot) for slot in ("vision_encoder", "projector", "backbone", "format")]
        optim = Optim(**settings["optim"])
        module = LanguageStage(*parts, optim, settings["rates"], vision_from=block)
        learning = {theirs(name) for name, weight in module.named_parameters() if weight.requires_grad}
        frozen = {theirs(name) for name, weight in module.named_parameters() if not weight.requires_grad}
        golden.equal(f"{stage} learns", sorted(learning), sorted(entry["trainable"]))
        golden.equal(f"{stage} is frozen", sorted(frozen), sorted(entry["frozen"]))
        names = {id(weight): theirs(name) for name, weight in module.named_parameters()}
        groups = module.configure_optimizers()["optimizer"].param_groups
        ours = {names[id(weight)]: group["initial_lr"] for group in groups for weight in group["params"]}
        golden.equal(f"{stage} rates", ours, rates_of(entry))
        golden.equal(f"{stage} adapters", sorted(LINEARS), sorted(entry["lora_target_leaf_names"]))


def rates_of(entry: dict[str, Any]) -> dict[str, float]:
    """The learning rate of every tensor in the published groups."""
    return {name: group["lr"] for group in entry["optimizer_groups_wd_0_01"] for name in group["params"]}


@checks("omni/state_dict_keys")
def keys(golden: Golden) -> None:
    """Every tensor of the published sizes is one of ours by name and shape, and none of ours is left over."""
    for size, table in golden.meta["models"].items():
        plan, _ = plan_of(compose_config("train", [f"experiment=emova_{size}"]))
        ours: dict[str, list[int]] = {}
        for slot in ("vision_encoder", "projector", "backbone"):
            part = skeleton(plan.nodes[slot].component, plan.parameters[slot])
            ours |= {theirs(f"{slot}.{name}"): list(value.shape) for name, value in part.state_dict().items()}
        if size == "3b":  # tied, as config.json says
            golden.equal("3b output", table.pop("lm_head.weight")[1], ours["model.embed_tokens.weight"])
        found = {pattern: [name for name in ours if fits(pattern, name)] for pattern in table}
        for pattern, (count, shape) in table.items():
            golden.equal(f"{size} {pattern}", [ours[name] for name in found[pattern]], [shape] * count)
        left = set(ours) - {name for names in found.values() for name in names}
        golden.equal(f"{size} of ours alone", sorted(left), [])


def fits(pattern: str, name: str) -> bool:
    """Whether a name is one of `pattern`, in which {i} counts."""
    return fullmatch(translate(pattern.replace("{i}", "*")), name) is not None


@checks("omni/toy_tokenizer_qwen2")
@torch.no_grad()
def toy_tokenizer(golden: Golden) -> None:
    """Units keep the ids of the checkpoint's own map, which stands in no order."""
    added = {token["content"]: token["id"] for token in golden.meta["added_tokens"]}
    places = {word: index for word, index in added.items() if word.startswith("<|speech_")}
    small = Golden("omni/tiny_emova_qwen2", golden.folder)
    state, rows = small.state("sd/"), max(added.values()) + 1
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = torch.randn(rows, state[name].shape[1], generator=torch.Generator().manual_seed(0))
    with TemporaryDirectory() as made:
        folder = write_origin(Path(made), state, {**small.meta["llm"], "vocab_size": rows}, 2, golden.meta)
        backbone = omnikit.load(f"{folder}#backbone")
    golden.equal("codebooks", backbone.codebooks, (len(places),))
    for word, index in places.items():
        unit = int(word.removeprefix("<|speech_").removesuffix("|>"))
        golden.equal(word, (backbone.units.ids([[unit]]), backbone.units.spell(index)), ([index], word))
        vector = backbone.model.get_input_embeddings().weight[backbone.units.ids([[unit]])[0]]
        golden.equal(f"{word} vector", bool(torch.equal(vector, state["model.embed_tokens.weight"][index])), True)
    turn = [Segment(control=name) for name in ("start", "user", "reply", "end")]
    marks = [added["<|im_start|>"], added["<|im_end|>"]]
    golden.equal(
        "marks", [marks[0] in backbone.text.controls["user"], backbone.text.controls["end"]], [True, (marks[1],)]
    )
    golden.equal("turns are the template's", backbone.count_tokens(turn) > len(turn), True)
    typed = backbone.text.encode("say <|speech_3|>!")
    golden.equal("what is typed is no unit", any(index in backbone.units for index in typed), False)
    golden.equal("and is read back", backbone.text.decode(typed), "say <|speech_3|>!")
