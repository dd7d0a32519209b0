"""The mixture that a language stage learns: its sources by task and kind of record, from a corpus or from shards.

A recipe says `mixture: {asr: 0.3, …}`, the share of the tokens that a task gets, and where its samples come from:
`sources: {asr: [speech, dialogue]}` takes all records alike, `sources: {asr: [speech: 3, dialogue: 1]}` three tokens of
one kind for one of the other. A kind such as `drawn_vqa` is drawn anew while the stage learns (`data.drawn_samples`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from omnikit.data.corpus import read_summary
from omnikit.data.drawn_samples import DRAWN, RECORDS, Draw, DrawnStream, drawing
from omnikit.data.language_batches import LanguageSample, language_samples
from omnikit.data.packing import Mixture, Shuffled, Stream
from omnikit.data.shards import find_shards, kind_and_split, read_shard
from omnikit.data.shards_stream import ShardStream
from omnikit.data.shards_write import SHARDS_FILE
from omnikit.errors import DataError, OmnikitError
from omnikit.slots.hearing import Hearing
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.training.extract import audio_of, extract_units, records_of
from omnikit.training.job import Context

TEXT_RECORDS = 20_000
"""Records of a shard kind from which a new backbone learns how text is cut."""
Count = Callable[[LanguageSample], int]


@dataclass(frozen=True)
class Source:
    """Records of some kinds as samples of a task, and the share of a batch that they get."""

    task: str
    kinds: tuple[str, ...]
    share: float

    @property
    def name(self) -> str:
        """How the source is called in reports and checkpoints."""
        return f"{self.task}/{'+'.join(self.kinds)}"

    @property
    def drawn(self) -> str | None:
        """The kind that is drawn anew, where it is one."""
        return self.kinds[0].removeprefix(DRAWN) if self.kinds[0].startswith(DRAWN) else None

    @property
    def recorded(self) -> Source:
        """The source whose records stand in where nothing may be new, as in a validation."""
        return self if self.drawn is None else Source(self.task, (self.drawn,), self.share)


def sources_of(settings: Mapping[str, Any], stage: str) -> list[Source]:
    """The sources of a recipe with a weight above 0. Raises `DataError` for a task without any."""
    found = []
    weights = {task: float(weight) for task, weight in settings["mixture"].items() if weight > 0}
    for task, weight in weights.items():
        given = list(settings["sources"].get(task) or ())
        weighted = [item for item in given if isinstance(item, Mapping)]
        if weighted and len(weighted) < len(given):
            raise DataError(
                f"Give every kind of record of '{task}' a weight, or none: {given}, e.g. [speech: 3, dialogue: 1]."
            )
        kinds = {(kind,): float(own) for item in weighted for kind, own in item.items() if own > 0}
        if given and not weighted:
            kinds = {tuple(given): 1.0}
        if any(len(names) > 1 and name.startswith(DRAWN) for names in kinds for name in names):
            raise DataError(
                f"Give kinds of '{task}' weights where some are drawn anew: {given}, e.g. [vqa: 1, drawn_vqa: 3]."
            )
        if not kinds:
            raise DataError(
                f"The mixture has a weight for '{task}' and the recipe no sources for it.\n"
                f"Name kinds of record, for example recipe.{stage}.sources.{task}=[dialogue]."
            )
        share = weight / sum(weights.values()) / sum(kinds.values())
        found += [Source(task, names, share * own) for names, own in kinds.items()]
    if not found:
        raise DataError(f"The mixture of {stage} gives no task a weight: {dict(settings['mixture'])}.")
    return found


class Material:
    """The samples of a stage, split by split, as endless streams; of a corpus, they are read once and kept."""

    def __init__(self, context: Context, tokenizer: SpeechTokenizer, hearing: Hearing) -> None:
        self.context, self.tokenizer, self.settings = context, tokenizer, context.settings
        self.kept = {"user_units": hearing.reads_units, "user_sound": hearing.sample_rate is not None}
        self.sources = sources_of(context.settings, context.config["stage"]["name"])
        self.shards = find_shards(context.config["data"].get("shards") or ())
        self._check_vocabulary()
        self._samples: dict[tuple[str, str], list[LanguageSample]] = {}

    def has(self, split: str) -> bool:
        """Whether there is anything of a split: a corpus has every one, shards may lack one."""
        return not self.shards or all(self._shards_of(source.recorded, split) for source in self.sources)

    def samples(self, split: str) -> Iterator[LanguageSample]:
        """Samples of every source, of shards those of the first records: what text is learnt from."""
        for source in (source.recorded for source in self.sources):
            if not self.shards:
                yield from self._of_corpus(source, split)
                continue
            paths = self._shards_of(source, split)
            entries = islice((entry for path in paths for entry in read_shard(path)), TEXT_RECORDS)
            for entry in entries:
                if entry.record is not None:
                    with suppress(OmnikitError):  # counted and named when it is its turn to be learnt
                        yield from self._of_records([entry.record], source.task, _NoUnits())

    def written(self, kinds: Sequence[str]) -> Iterator[str]:
        """Every text that somebody writes or says in training records of these kinds, of shards in the first."""
        records: Iterable[Mapping[str, Any]]
        if not self.shards:
            records = records_of(self.context.corpus, *(f"{kind}.train" for kind in kinds))
        else:
            paths = [path for path in self.shards if kind_and_split(path) in {(kind, "train") for kind in kinds}]
            entries = islice((entry for path in paths for entry in read_shard(path)), TEXT_RECORDS)
            records = (entry.record for entry in entries if entry.record is not None)
        return (message["text"] for record in records for message in record["messages"] if "text" in message)

    def mixture(self, split: str, count: Count, batch_tokens: int, limit: int | None) -> Mixture[LanguageSample]:
        """The sources mixed; samples of more than `limit` or `batch_tokens` positions are left out, and named."""
        longest = min(batch_tokens, limit or batch_tokens)
        streams: dict[str, Stream[LanguageSample]] = {}
        for number, source in enumerate(self.sources):
            seed = (self.context.seed, number)
            if source.drawn and split == "train":
                streams[source.name] = DrawnStream(self._drawing(source), count, seed=seed, limit=longest)
            else:
                streams[source.name] = self._stream(source.recorded, split, count, seed, longest)
        return Mixture(streams, {source.name: source.share for source in self.sources}, batch_tokens)

    def _drawing(self, source: Source) -> Draw:
        assert source.drawn is not None
        if self.shards:
            stage = self.context.config["stage"]["name"]
            raise DataError(
                f"'{source.kinds[0]}' is drawn beside the records of a corpus, and shards were given.\n"
                f"Learn from what they hold: recipe.{stage}.sources.{source.task}=[{source.drawn}]."
            )
        kinds = RECORDS.get(source.drawn, ())
        tasks = {kind: "dialogue" if kind == "dialogue" else "tts" for kind in kinds}
        recorded = [self._of_corpus(Source(task, (kind,), 1.0), "train") for kind, task in tasks.items()]
        return drawing(source.drawn, read_summary(self.context.corpus).seed, chain.from_iterable(recorded))

    def _stream(
        self, source: Source, split: str, count: Count, seed: Sequence[int], limit: int
    ) -> Stream[LanguageSample]:
        if self.shards:
            paths = self._shards_of(source, split)
            if not paths:
                raise DataError(
                    f"No shard is named {' or '.join(f'{kind}.{split}-…' for kind in source.kinds)}, "
                    f"which the recipe's sources of '{source.task}' ask for.\n"
                    f"Kinds here: {', '.join(sorted(set(self._kinds())))}."
                )

            def samples_of(record: Mapping[str, Any]) -> list[LanguageSample]:
                return self._of_records([record], source.task, _NoUnits())

            return ShardStream(paths, samples_of, count, seed=seed, limit=limit)
        samples = self._of_corpus(source, split)
        if not samples:
            files = ", ".join(f"{kind}.{split}.jsonl" for kind in source.kinds)
            raise DataError(f"The mixture asks for '{source.task}', but there are no such samples in {files}.")
        return Shuffled(samples, [count(sample) for sample in samples], seed=seed, limit=limit)

    def _of_corpus(self, source: Source, split: str) -> list[LanguageSample]:
        if (source.name, split) not in self._samples:
            corpus = self.context.corpus
            records = records_of(corpus, *(f"{kind}.{split}" for kind in source.kinds))
            store: Mapping[str, Any] = {}
            if source.task != "caption":
                store = extract_units(self.tokenizer, corpus, audio_of(records, renderings=source.task == "asr"))
            self._samples[source.name, split] = self._of_records(records, source.task, store)
        return self._samples[source.name, split]

    def _of_records(
        self, records: Sequence[Mapping[str, Any]], task: str, store: Mapping[str, Any]
    ) -> list[LanguageSample]:
        share = self.settings["typed_share"]
        return language_samples(records, [task], store, typed_share=share, **self.kept)[task]

    def _shards_of(self, source: Source, split: str) -> list[Path]:
        return [path for path in self.shards if kind_and_split(path) in {(kind, split) for kind in source.kinds}]

    def _kinds(self) -> list[str]:
        return [".".join(kind_and_split(path)) for path in self.shards]

    def _check_vocabulary(self) -> None:
        for folder in {path.parent for path in self.shards}:
            card = folder / SHARDS_FILE
            made = json.loads(card.read_text()).get("vocab_id") if card.is_file() else None
            if made is not None and made != self.tokenizer.vocab_id:
                raise DataError(
                    f"The shards in {folder} hold units of {made}, the tokenizer here is {self.tokenizer.vocab_id}.\n"
                    "Write them anew with its units: omnikit data shard --units …"
                )


class _NoUnits(Mapping[str, Any]):
    """Units of recordings in shards: there are none but those in the messages."""

    def __getitem__(self, path: str) -> Any:
        raise DataError("a recording comes without units; write shards with them: omnikit data shard --units …")

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def identity_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """What data a run is of: the hash of its corpus, or that of the names and sizes of its shards."""
    if not data.get("shards"):
        summary = read_summary(Path(data["path"]))
        return {"sha256": summary.content_sha256, "seed": summary.seed, "hours": summary.hours}
    shards = find_shards(data["shards"])
    told = "\n".join(f"{path.name} {path.stat().st_size}" for path in shards)
    return {"sha256": hashlib.sha256(told.encode()).hexdigest(), "shards": len(shards)}
