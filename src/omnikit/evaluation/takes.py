"""What a system says to a few texts that no training saw, as files beside its scores: material for listening tests.

`media.json` lists the files: `{"prompt", "text", "file"}` each; systems judged on the same corpus say the same prompts.
"""

from __future__ import annotations

import json
from pathlib import Path

from omnikit.data.corpus import write_text
from omnikit.data.media import write_audio
from omnikit.evaluation.material import chosen, ear_rate, spoken, units_of, waves_of
from omnikit.evaluation.voice_control import FILE, default_styles
from omnikit.system import System

LISTING = "media.json"
SPEAKS = ("tokenizer", "style", "detokenizer")


def can_speak(system: System) -> bool:
    """Whether a system has the parts that a voice takes."""
    return all(slot in system.parts for slot in SPEAKS)


def write_takes(system: System, corpus: Path, folder: Path, num_texts: int, seed: int) -> list[Path]:
    """Speak the units of `num_texts` recordings in the first default style; writes a WAV each and `media.json`.

    Texts of which the voice makes no sound have no file.
    """
    records = chosen(corpus, FILE, num_texts, seed)
    messages = [record["messages"][0] for record in records]
    style = default_styles(system.part("style").factors)[0]
    units = units_of(system, waves_of(system, corpus, [message["audio"] for message in messages]))
    listed, files = [], []
    for number, (record, message, row) in enumerate(zip(records, messages, units, strict=True)):
        wave = spoken(system, row, style, seed)
        if len(wave):
            files.append(write_audio(folder / f"take_{number}.wav", wave, ear_rate(system)))
            listed.append({"prompt": record["id"], "text": message["text"], "file": files[-1].name})
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / LISTING, json.dumps(listed, indent=1) + "\n")
    return files
