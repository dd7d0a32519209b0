"""How long a spoken reply is, as its format writes it: reference answers spelled in tokens; nothing is generated."""

from __future__ import annotations

from pathlib import Path

from omnikit.evaluation.figures import Figure, mean
from omnikit.evaluation.material import by_text, chosen, units_of, waves_of
from omnikit.system import System
from omnikit.types import SpokenTurn, Style

PART = "language"
FILE = "dialogue.test"


def length_figures(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """Tokens of a spoken reply to a spoken question (its end among them), and those of them that are no units."""
    backbone, form = system.part("backbone"), system.part("format")
    records = chosen(corpus, FILE, num_items, seed)
    pairs = [record["messages"][:2] for record in records]
    units = units_of(system, waves_of(system, corpus, [answer["audio"] for _, answer in pairs]))
    totals, others = [], []
    for (asked, answer), row in zip(pairs, units, strict=True):
        style, heard = (Style(labels=(message["style"],), source="model") for message in (answer, asked))
        turn = SpokenTurn(answer["text"], user_text=asked["text"], style=style, units=row, user_style=heard)
        reply = form.target("dialogue", turn, backbone)
        totals.append(float(system.emitter.count_tokens(backbone, reply)))
        others.append(float(backbone.count_tokens([segment for segment in reply if segment.units is None])))
    names, how = by_text(records), f"{FILE}: the record's answer as the format writes it"
    return [
        mean(PART, "length of a spoken reply", totals, how, "tokens", items=names.items(totals)),
        mean(PART, "length of a spoken reply without its units", others, how, "tokens", items=names.items(others)),
    ]
