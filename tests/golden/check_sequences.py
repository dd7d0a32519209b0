"""Pictures merged into texts, and texts put into a batch, against the published routines.

Token ids are units of one codebook here, so that `Segment` can carry any of them. What the published code pads, masks
and labels, ours never builds; so both are held to the same loss of the same small language model, which differs as soon
as one embedding, position, visibility or label does.

Letters: L positions, W width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from golden.compare import VALUES, Golden, checks
from omnikit.backbones.hf_causal import HFCausal
from omnikit.errors import OmnikitError
from omnikit.nn.picture_sizes import AnyRes
from omnikit.nn.slices import join_flat, join_spatial
from omnikit.slots.backbone import Segment
from omnikit.types import Images
from omnikit.vision_encoders.qwen2_vit import Qwen2ViT

IMAGE, IGNORED = -200, -100


def small_backbone(width: int, vocabulary: int, max_positions: int) -> HFCausal:
    """A backbone of one layer whose units are the token ids of the golden file."""
    torch.manual_seed(0)
    return HFCausal(
        hidden=width,
        layers=1,
        heads=2,
        kv_heads=1,
        intermediate=2 * width,
        max_positions=max_positions,
        codebooks=(vocabulary,),
        unit_rate=25,
        layout="frame",
        vocab_id="golden",
    ).eval()


def segments(ids: Sequence[int], trained: Sequence[bool], pictures: Iterator[Tensor]) -> list[Segment]:
    """A text with place-holders as segments; what is trained and what is not stand apart."""
    found = []
    for (is_image, train), run in groupby(zip(ids, trained, strict=True), key=lambda pair: (pair[0] == IMAGE, pair[1])):
        tokens = tuple(token for token, _ in run)
        if is_image:
            found += [Segment(frames=next(pictures)) for _ in tokens]
        else:
            found.append(Segment(units=(tokens,), train=train))
    return found


def published_loss(backbone: HFCausal, embeds: Tensor, labels: Tensor) -> list[float]:
    """Losses of the labelled tokens of a row, embeds [L, W] and labels [L], each predicted from what stands before."""
    hidden = backbone.model(inputs_embeds=embeds[None]).last_hidden_state[0, :-1]  # [L - 1, W]
    table = backbone.model.get_input_embeddings().weight[: backbone.num_tokens]
    target = torch.where(labels == IGNORED, IGNORED, labels + backbone.units.first)[1:]
    each = F.cross_entropy(hidden @ table.T, target, ignore_index=IGNORED, reduction="none")
    return each[target != IGNORED].tolist()


def pictures_of(golden: Golden, case: dict[str, Any]) -> list[Tensor]:
    """Features [N, W] of every picture of a case, in the order of the batch."""
    name, mode = case["name"], case["config"]["image_aspect_ratio"]
    blocks = golden.names(f"{name}/features/*")
    if blocks:
        return [golden[f"{name}/features/{number}"] for number in range(len(blocks))]
    features = golden[f"{name}/features"]
    if mode != "anyres":
        return list(features)
    side, merge = case["image_size"], case["config"]["mm_patch_merge_type"]
    cutting = AnyRes(side, tuple((x // side, y // side) for x, y in case["config"]["image_grid_pinpoints"]))
    newline = golden[f"{name}/image_newline"] if "unpad" in merge else None
    counts = [shape[0] if len(shape) == 4 else 1 for shape in case["images_shapes"]]
    found = []
    for slices, (width, height) in zip(features.split(counts), case["image_sizes"], strict=True):
        plan = cutting.plan(height, width)
        flat = merge == "flat"
        found.append(join_flat(slices) if flat else join_spatial(slices, plan, (height, width), newline))
    return found


@checks("omni/merge")
@torch.no_grad()
def merge(golden: Golden) -> None:
    for case in golden.meta:
        name = case["name"]
        table, ids = golden[f"{name}/embed_tokens"], golden[f"{name}/input_ids"]
        backbone = small_backbone(table.shape[1], len(table), 256)
        first = backbone.units.first
        backbone.model.get_input_embeddings().weight[first : first + len(table)] = table
        mask = _or(golden, f"{name}/attention_mask", torch.ones_like(ids)).bool()
        labels = _or(golden, f"{name}/labels", ids.masked_fill(ids == IMAGE, IGNORED))
        pictures = iter(pictures_of(golden, case))
        rows = []
        for row, seen, wanted in zip(ids, mask, labels, strict=True):
            tokens, trained = row[seen].tolist(), (wanted[seen] != IGNORED).tolist()
            rows.append(segments(tokens, [place > 0 and train for place, train in enumerate(trained)], pictures))
            if IMAGE not in tokens:
                next(pictures)  # the published code spends a dummy picture on a text without any
        embeds = golden[f"{name}/out_embeds"]
        seen = _or(golden, f"{name}/out_attention_mask", torch.ones(embeds.shape[:2])).bool()
        lengths = seen.sum(1).tolist()
        limit = case["config"]["tokenizer_model_max_length"]
        if limit is not None and any(backbone.count_tokens(row) > limit for row in rows):
            golden.equal(f"{name} cut to", max(lengths), limit)
            golden.equal(f"{name} ours refuses", _refuses(small_backbone(16, len(table), limit), rows), True)
            golden.leave(f"{name}/out_labels", "ours refuses what is too long; the published routine cuts it")
            continue
        golden.equal(f"{name} positions", [backbone.count_tokens(row) for row in rows], lengths)
        out_labels = _or(golden, f"{name}/out_labels", None)
        each: list[float] = []
        for number, row in enumerate(rows):
            own = out_labels[number][seen[number]] if out_labels is not None else _labels_of(row)
            each += published_loss(backbone, embeds[number][seen[number]], own)
        if f"{name}/out_position_ids" in golden:  # counted from 0, as ours are
            golden.exact(f"{name}/out_position_ids", torch.arange(embeds.shape[1])[None])
        readings = [row for row in rows if any(segment.train for segment in row)]
        golden.equal(f"{name} loss", _same(backbone.loss(readings).total.item(), sum(each) / len(each)), True)
        told = [_all_trained(row) for row in rows]  # labels are few; every token tells more of what it was read after
        each = []
        for number, row in enumerate(told):
            each += published_loss(backbone, embeds[number][seen[number]], _labels_of(row))
        golden.equal(f"{name} loss of all", _same(backbone.loss(told).total.item(), sum(each) / len(each)), True)


@checks("omni/collator")
@torch.no_grad()
def collation(golden: Golden) -> None:
    meta, limit = golden.meta, golden.meta["model_max_length"]
    batch, instances = meta["batch"], meta["instances"]
    backbone = small_backbone(8, meta["pad_token_id"] + 1, limit)
    for number, (instance, mask) in enumerate(zip(instances, batch["attention_mask"], strict=True)):
        ids = instance["input_ids"]
        row = [Segment(units=(tuple(ids[:1]),)), Segment(units=(tuple(ids[1:]),), train=True)]
        golden.equal(f"{number} positions", min(backbone.count_tokens(row), limit), sum(mask))
        golden.equal(f"{number} ours refuses what is cut", _refuses(backbone, [row]), len(ids) > limit)
    fitting = [item["input_ids"] for item in instances if len(item["input_ids"]) <= limit]
    rows = [[Segment(units=(tuple(ids[:1]),)), Segment(units=(tuple(ids[1:]),), train=True)] for ids in fitting]
    alone = torch.stack([backbone.loss([row]).parts["sequences"][0] for row in rows])
    golden.equal("padding changes nothing", torch.allclose(backbone.loss(rows).parts["sequences"], alone), True)
    encoder = Qwen2ViT(dim=8, depth=1, heads=1, out_dim=8)
    for number, (instance, (_, height, width)) in enumerate(zip(instances, batch["image_sizes"], strict=True)):
        if height * width != instance["n_patches"]:
            continue  # the published dummy picture of a text; ours brings none
        side = encoder.parameters_given.get("patch_size", 14)
        patches = encoder.patches(Images.of([torch.zeros(3, height * side, width * side)]))
        golden.equal(f"{number} patches", len(patches), instance["n_patches"])


def _or(golden: Golden, name: str, default: Any) -> Any:
    return golden[name] if golden.names(name) else default


def _same(ours: float, theirs: float) -> bool:
    return abs(ours - theirs) < VALUES * theirs


def _all_trained(row: Sequence[Segment]) -> list[Segment]:
    """The row with every token trained that stands behind something."""
    ids = [unit for segment in row for unit in (segment.units[0] if segment.units else (IMAGE,))]
    pictures = iter([segment.frames for segment in row if segment.frames is not None])
    return segments(ids, [place > 0 and unit != IMAGE for place, unit in enumerate(ids)], pictures)


def _refuses(backbone: HFCausal, rows: Sequence[Sequence[Segment]]) -> bool:
    try:
        backbone.loss(rows)
    except OmnikitError as error:
        return "exceed" in str(error)
    return False


def _labels_of(row: Sequence[Segment]) -> Tensor:
    """Labels [L] of what a row trains."""
    labels: list[int] = []
    for segment in row:
        if segment.frames is not None:
            labels += [IGNORED] * len(segment.frames)
        elif segment.units is not None:
            labels += [unit if segment.train else IGNORED for unit in segment.units[0]]
    return torch.tensor(labels)
