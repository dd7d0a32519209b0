"""A question as a file asks it, and the arms that its kind of study makes of it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omnikit.errors import OmnikitError, unknown_name

KINDS = ("one_at_a_time", "product", "zip", "leave_one_out", "cumulative", "curve")
BY_ARMS = ("one_at_a_time", "leave_one_out", "cumulative")
BY_AXES = ("one_at_a_time", "product", "zip", "curve")
FIELDS = (
    "name",
    "question",
    "kind",
    "base",
    "baseline",
    "arms",
    "axes",
    "seeds",
    "primary",
    "judges",
    "stages",
    "continues",
)


@dataclass(frozen=True)
class Arm:
    """One row of the table: the overrides that set it apart, and its training stages where they are its own.

    `trained_as` names the arm whose training it takes over, so that the two differ in what is judged and no weight.
    """

    name: str
    overrides: tuple[str, ...] = ()
    stages: tuple[str, ...] | None = None
    trained_as: str | None = None


@dataclass(frozen=True)
class Question:
    """What is asked, of which arms, against which of them.

    `base` holds overrides of every arm; `judges` the parts of a system that evaluation looks at; `stages` the training
    stages that an arm may need, in order; `primary` the metric that decides; `continues` the slots whose training goes
    on from the weights that are given, where others start anew.
    """

    name: str
    question: str
    kind: str
    base: tuple[str, ...]
    baseline: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    primary: str
    judges: tuple[str, ...]
    stages: tuple[str, ...]
    continues: tuple[str, ...] = ()

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Question:
        """A question from plain data. Raises `OmnikitError` naming what is missing, unknown or contradictory."""
        for name in data:
            if name not in FIELDS:
                raise unknown_name("key of a question", str(name), FIELDS)
        missing = [name for name in ("name", "question", "kind", "primary", "judges") if not data.get(name)]
        missing += ["stages"] if data.get("stages") is None else []  # [] says that nothing trains
        if missing:
            raise OmnikitError(f"The question lacks {', '.join(missing)}; conf/ablation/tokenizer_swap.yaml has all.")
        kind, name = str(data["kind"]), str(data["name"])
        if kind not in KINDS:
            raise unknown_name("kind of study", kind, KINDS)
        listed, axes = _listed(data.get("arms") or {}), data.get("axes") or {}
        if bool(listed) == bool(axes) or (listed and kind not in BY_ARMS) or (axes and kind not in BY_AXES):
            wanted = " or ".join(word for word, kinds in (("arms", BY_ARMS), ("axes", BY_AXES)) if kind in kinds)
            raise OmnikitError(f"A study of kind '{kind}' needs {wanted}, and not both; '{name}' has another layout.")
        baseline = str(data.get("baseline") or "baseline")
        arms = _MAKERS[kind](baseline, listed) if listed else _from_axes(kind, baseline, axes)
        names = [arm.name for arm in arms]
        if baseline not in names:
            raise unknown_name("baseline", baseline, names, "The baseline is the name of an arm.")
        trained = [arm.name for arm in arms if arm.trained_as is None]
        for arm in listed:
            if arm.trained_as is not None and kind != "one_at_a_time":
                raise OmnikitError(f"Arm '{arm.name}' has trained_as, which a study of kind '{kind}' cannot join.")
            if arm.trained_as is not None and arm.trained_as not in trained:
                raise unknown_name(f"arm that '{arm.name}' is trained as", arm.trained_as, trained)
        doubled = {own for own in names if names.count(own) > 1}
        if doubled:
            raise OmnikitError(f"Two arms are called '{sorted(doubled)[0]}'; every arm needs a name of its own.")
        return cls(
            name=name,
            question=str(data["question"]).strip(),
            kind=kind,
            base=tuple(map(str, data.get("base") or ())),
            baseline=baseline,
            arms=tuple(arms),
            seeds=seeds_of(data.get("seeds", [0])),
            primary=str(data["primary"]),
            judges=tuple(data["judges"]),
            stages=tuple(data["stages"]),
            continues=tuple(data.get("continues") or ()),
        )


def seeds_of(value: Any) -> tuple[int, ...]:
    """Seeds from a list, or `n` for 0 … n-1. Raises `OmnikitError` for anything else, and for doubles."""
    seeds = list(range(value)) if isinstance(value, int) else value
    good = isinstance(seeds, list | tuple) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not good or len(set(seeds)) != len(seeds):
        raise OmnikitError(f"seeds={value} is no list of different seeds; write seeds=[0,1,2], or seeds=3 for those.")
    return tuple(seeds)


def _listed(arms: Mapping[str, Any]) -> list[Arm]:
    """Arms as a file lists them: overrides, or a mapping of `overrides` and `stages` or `trained_as`."""
    if not isinstance(arms, Mapping):
        raise OmnikitError("arms must map a name to its overrides, e.g. arms: {vq: [tokenizer=spiral_vq_tiny]}.")
    made = []
    for name, own in arms.items():
        node = own if isinstance(own, Mapping) else {"overrides": own}
        if set(node) - {"overrides", "stages", "trained_as"}:
            raise OmnikitError(
                f"Arm '{name}' has {', '.join(map(str, node))}; it may have overrides, and stages or trained_as."
            )
        overrides, stages, other = node.get("overrides") or (), node.get("stages"), node.get("trained_as")
        if isinstance(overrides, str):
            raise OmnikitError(f"Arm '{name}': overrides are a list, e.g. [{overrides}].")
        if stages is not None and other is not None:
            raise OmnikitError(f"Arm '{name}' has stages of its own, so it cannot be trained as '{other}'.")
        made.append(Arm(str(name), tuple(map(str, overrides)), None if stages is None else tuple(stages), other))
    return made


def _one_at_a_time(baseline: str, listed: Sequence[Arm]) -> list[Arm]:
    """The base without any override, unless an arm is named as the baseline, and every arm alone."""
    return list(listed) if baseline in [arm.name for arm in listed] else [Arm(baseline), *listed]


def _leave_one_out(baseline: str, listed: Sequence[Arm]) -> list[Arm]:
    """Everything on as the baseline, then everything but one."""
    arms = [_joined(baseline, listed)]
    return arms + [_joined(f"without {left.name}", [arm for arm in listed if arm is not left]) for left in listed]


def _cumulative(baseline: str, listed: Sequence[Arm]) -> list[Arm]:
    """The base as the baseline, then one more change in every arm."""
    return [Arm(baseline), *(_joined(f"+ {arm.name}", listed[: place + 1]) for place, arm in enumerate(listed))]


def _joined(name: str, arms: Sequence[Arm]) -> Arm:
    stages = [arm.stages for arm in arms if arm.stages is not None]
    overrides = tuple(itertools.chain.from_iterable(arm.overrides for arm in arms))
    return Arm(name, overrides, stages[-1] if stages else None)


_MAKERS = {"one_at_a_time": _one_at_a_time, "leave_one_out": _leave_one_out, "cumulative": _cumulative}


def _from_axes(kind: str, baseline: str, axes: Mapping[str, Any]) -> list[Arm]:
    """Arms from values of config keys: all combinations, side by side, one at a time, or along one axis."""
    values = {key: [_text(value) for value in own] for key, own in axes.items() if isinstance(own, list | tuple)}
    if len(values) != len(axes) or not all(values.values()):
        raise OmnikitError("axes must map a config key to its values, e.g. axes: {tokenizer: [a, b], style: [c, d]}.")
    if kind == "one_at_a_time":
        changes = [Arm(f"{key}={value}", (f"{key}={value}",)) for key, own in values.items() for value in own]
        return _one_at_a_time(baseline, changes)
    if kind == "curve" and len(values) != 1:
        raise OmnikitError(f"A curve has one axis, not {len(values)}: {', '.join(values)}.")
    if kind == "zip" and len({len(own) for own in values.values()}) > 1:
        sizes = ", ".join(f"{key} has {len(own)}" for key, own in values.items())
        raise OmnikitError(f"The axes of a zip are equally long; {sizes}.")
    rows = zip(*values.values(), strict=True) if kind == "zip" else itertools.product(*values.values())
    arms = []
    for row in rows:
        overrides = tuple(f"{key}={value}" for key, value in zip(values, row, strict=True))
        arms.append(Arm(row[0] if len(values) == 1 else ",".join(overrides), overrides))
    return arms


def _text(value: Any) -> str:
    """A value as an override writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_text(item)}" for name, item in value.items()) + "}"
    return re.sub(r"\s+", "", str(list(value))) if isinstance(value, list | tuple) else str(value)
