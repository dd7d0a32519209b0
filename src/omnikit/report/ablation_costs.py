"""What a study cost in all, and what each of its arms did: trainings that arms share are told apart from their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from omnikit.report.ablation_folder import Cell, Training
from omnikit.report.ablation_results import ArmResult, Results
from omnikit.report.ablation_tables import NOTHING, Box, Table, name_of

NOTES = (
    "alone: what the arm takes without the others. own: what the study takes more because of it: trainings that no "
    "other arm uses, and its evaluations. A training that several arms use is in `alone` of each of them, in `own` of "
    "none, and once in the last row.",
    "Finished runs only, all seeds together, in the time of processes: what ran side by side took less by the clock.",
)


@dataclass(frozen=True)
class Spent:
    """Trainings, the time of them and of evaluations in seconds, and FLOPs of training (None: not all are known)."""

    num_trainings: int
    seconds: float
    flops: float | None

    @classmethod
    def on(cls, used: Mapping[str, Training], cells: Iterable[Cell]) -> Spent:
        """On trainings, once each, and on judging cells."""
        judged = sum(cell.cost.get("evaluation_s", 0.0) for cell in cells)
        counted = [item.flops for item in used.values()]
        flops = None if None in counted else sum(filter(None, counted))
        return cls(len(used), sum(item.wall_s for item in used.values()) + judged, flops)


def is_told(results: Results) -> bool:
    """Whether there are finished runs and every one of them tells its trainings (those of earlier versions do not)."""
    done = [cell for arm in results.arms for cell in arm.cells if cell.done]
    return bool(done) and all(cell.trainings or cell.cost.get("steps") == 0 for cell in done)


def whole_study(results: Results) -> Spent:
    """What all finished runs took together, every training once."""
    return Spent.on(_used(results.arms), _done(results.arms))


def of_arm(results: Results, arm: ArmResult) -> tuple[Spent, Spent]:
    """What an arm takes alone, and what of it is its own."""
    used = _used([arm])
    others = _used(other for other in results.arms if other.name != arm.name)
    own = {key: item for key, item in used.items() if key not in others}
    cells = _done([arm])
    return Spent.on(used, cells), Spent.on(own, cells)


def study_cost_table(results: Results) -> Table | None:
    """A row an arm and one for the study; None where the runs do not tell their trainings."""
    if not is_told(results):
        return None
    total = whole_study(results)
    rows: list[tuple[Box, ...]] = []
    for arm in results.arms:
        if not arm.num_done:
            rows.append((Box(name_of(results, arm)), Box("0"), *[Box(NOTHING)] * 6))
            continue
        alone, own = of_arm(results, arm)
        shared = alone.num_trainings - own.num_trainings
        numbers = (str(arm.num_done), str(alone.num_trainings), str(shared))
        rows.append((Box(name_of(results, arm)), *map(Box, numbers), *_amounts(alone, own)))
    num_done = sum(arm.num_done for arm in results.arms)
    counts = (Box(str(num_done)), Box(str(total.num_trainings)), Box(NOTHING))
    amounts = (Box(NOTHING), _minutes(total), Box(NOTHING), _flops(total))
    rows.append((Box("the whole study, each training once", strong=True), *counts, *amounts))
    head = ("arm", "runs", "trainings", "shared", "alone, min", "own, min", "alone, TFLOPs", "own, TFLOPs")
    return Table("Cost of the study", head, tuple(rows), NOTES)


def _amounts(alone: Spent, own: Spent) -> tuple[Box, Box, Box, Box]:
    return _minutes(alone), _minutes(own), _flops(alone), _flops(own)


def _minutes(spent: Spent) -> Box:
    return Box(f"{spent.seconds / 60:.1f}")


def _flops(spent: Spent) -> Box:
    return Box(NOTHING if spent.flops is None else f"{spent.flops / 1e12:.3g}")


def _done(arms: Iterable[ArmResult]) -> list[Cell]:
    return [cell for arm in arms for cell in arm.cells if cell.done]


def _used(arms: Iterable[ArmResult]) -> dict[str, Training]:
    """The trainings of finished runs, by key."""
    return {item.key: item for cell in _done(arms) for item in cell.trainings}
