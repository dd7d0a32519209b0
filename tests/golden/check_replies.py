"""format/emova_json against the replies that the published demonstration reads, and units as text and as tokens.

The demonstration speaks a reply that it cannot read as if all of it were units; here such a reply has the units that
can be read, and is marked as malformed. A whole reply without units is well-formed here: it is only not spoken.
"""

from __future__ import annotations

import json
import re

import torch

from golden.compare import Golden, checks
from omnikit.backbones.hf_causal import HFCausal
from omnikit.errors import OmnikitError
from omnikit.formats.emova_json import UNITS, EmovaJsonFormat, repaired

SIZES = {"hidden": 8, "layers": 1, "heads": 1, "kv_heads": 1, "intermediate": 8, "unit_rate": 25}
NUMBER = re.compile(r"<\|speech_(\d+)\|>")


def backbone_of(num_units: int) -> HFCausal:
    with torch.random.fork_rng(devices=[]):
        return HFCausal(**SIZES, codebooks=(num_units,), layout="reduced", vocab_id="golden")


@checks("omni/reply_parse")
def reply_parse(golden: Golden) -> None:
    backbone, form = backbone_of(128), EmovaJsonFormat()
    for number, case in enumerate(golden.meta):
        raw, expected = case["output"], case["result"]
        turn = form.parse("dialogue", raw, backbone)
        spoken = [] if turn.units is None else turn.units.codes[0, 0].tolist()
        golden.equal(f"{number}: an object", is_object(raw), expected["parsed_json"])
        golden.equal(f"{number}: raw", turn.raw, raw)
        if expected["parsed_json"]:
            golden.equal(f"{number}: units", spoken, [int(unit) for unit in expected["units"].split()])
            labels = {"emotion": "neutral", "pitch": "normal", "speed": "normal"} | dict(*turn.style.labels)
            gender = (case["speaker"] or "female").lower()
            said = "gender-{}_emotion-{emotion}_speed-{speed}_pitch-{pitch}".format(gender, **labels)
            golden.equal(f"{number}: condition", said, expected["condition"])
        else:
            golden.equal(f"{number}: nothing to speak, or malformed", turn.parse_ok and turn.units is not None, False)
            known = [int(unit) for unit in NUMBER.findall(raw)]
            golden.equal(f"{number}: units that can be read", spoken, known if spoken else [])
        if turn.parse_ok:
            golden.equal(f"{number}: well-formed replies need no repair", repaired(raw), raw)


def is_object(raw: str) -> bool:
    """Whether the repaired reply is an object that names its speech."""
    try:
        return UNITS in json.loads(repaired(raw))
    except ValueError:
        return False


@checks("omni/s2u_text")
def s2u_text(golden: Golden) -> None:
    meta = golden.meta
    backbone, ids = backbone_of(meta["n_speech"]), meta["token_to_id"]
    everything = "".join(f"<|speech_{unit}|>" for unit in range(meta["n_speech"]))
    golden.equal("all units", backbone.unit_text([range(meta["n_speech"])]), everything)
    golden.equal(
        "a token each", sorted(ids.values()), [meta["first_new_id"] + unit for unit in range(meta["n_speech"])]
    )
    form = EmovaJsonFormat()
    for row in meta["rows"]:
        text, tokens = row["text"], row["ids"]
        try:
            (units,) = backbone.parse_units(text)
        except OmnikitError:
            whole = bool(tokens) and all(token in ids.values() for token in tokens)
            golden.equal(f"{text!r:.40}: more than units there too", whole, False)
            golden.equal(f"{text!r:.40}: refused", form.parse("tts", text, backbone).parse_ok, False)
            continue
        golden.equal(f"{text!r:.40}: units", " ".join(map(str, units)), row["parsed_units"])
        golden.equal(f"{text!r:.40}: tokens", [ids[f"<|speech_{unit}|>"] for unit in units], tokens)
