"""The leakage report of a tokenizer: what probes read from its units, features and log-mels, and what its units are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omnikit.errors import OmnikitError
from omnikit.evaluation.figures import Figure
from omnikit.evaluation.hearing import Heard, drawn_by_voice, hear, without_texts
from omnikit.evaluation.material import Record
from omnikit.evaluation.probing import Reading, read_factors
from omnikit.evaluation.unit_figures import phonetic_figures, stability_figures, use_figures
from omnikit.evaluation.views import views_of
from omnikit.system import System


@dataclass(frozen=True)
class Setting:
    """How a report is made.

    Args:
        train_files, test_files: files of the corpus that probes learn from and are tested on.
        num_items: test utterances, as even over the voices as can be.
        train_factor: training utterances for each of them.
        num_disturbed: test utterances whose units are compared with those of disturbed copies.
        snrs_db, gains_db, speeds: the disturbances.
        seed: of everything random.
    """

    train_files: Sequence[str]
    test_files: Sequence[str]
    num_items: int
    train_factor: int
    num_disturbed: int
    snrs_db: Sequence[float]
    gains_db: Sequence[float]
    speeds: Sequence[float]
    seed: int


@dataclass(frozen=True)
class Leakage:
    """A report: readings of the probes and figures of the units; `about` says of what, and how it was made."""

    about: Mapping[str, Any]
    readings: tuple[Reading, ...]
    figures: tuple[Figure, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        return {
            **self.about,
            "readings": [item.as_dict() for item in self.readings],
            "figures": [item.as_dict() for item in self.figures],
        }


def probe_tokenizer(
    system: System,
    corpus: Path,
    setting: Setting,
    about: Mapping[str, Any],
    progress: Callable[[str], None] = lambda line: None,
) -> Leakage:
    """The report of the system's tokenizer; the same arguments give the same figures on the same machine.

    Raises `OmnikitError` for counts below 1 and where no training text is left that the test does not say.
    """
    for name in ("num_items", "train_factor", "num_disturbed"):
        if getattr(setting, name) < 1:
            raise OmnikitError(f"{name} is {getattr(setting, name)}; 1 or more are accepted.")
    train, test, records = heard_sets(system, corpus, setting, progress)
    readings = read_factors(train, test, views_of(train, test), setting.seed, progress=progress)
    progress("counting and disturbing units")
    figures = [*use_figures(test), *phonetic_figures(test)]
    some = slice(0, setting.num_disturbed)
    figures += stability_figures(
        system,
        corpus,
        records[some],
        test[some],
        snrs_db=setting.snrs_db,
        gains_db=setting.gains_db,
        speeds=setting.speeds,
        seed=setting.seed,
    )
    counts = {"num_train": len(train), "num_test": len(test), "num_test_voices": len({item.voice for item in test})}
    return Leakage({**about, "setting": asdict(setting), **counts}, tuple(readings), tuple(figures))


def heard_sets(
    system: System, corpus: Path, setting: Setting, progress: Callable[[str], None]
) -> tuple[list[Heard], list[Heard], list[Record]]:
    """Training and test utterances as heard, and the records of the latter; no text is in both."""
    test = drawn_by_voice(corpus, setting.test_files, setting.num_items, setting.seed)
    wanted = setting.num_items * setting.train_factor
    train = without_texts(drawn_by_voice(corpus, setting.train_files, wanted, setting.seed), test)
    if not train or not test:
        raise OmnikitError(
            f"{len(train)} training and {len(test)} test utterances are left to probe in {corpus}.\n"
            "Both must hold some, and no text of the test may be all that training says."
        )
    progress(f"hearing {len(train)} training and {len(test)} test utterances")
    return hear(system, corpus, train), hear(system, corpus, test), test
