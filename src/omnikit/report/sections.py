"""The parts of the report: questions, emotions, and the two swaps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from omnikit.report.parts import escape, figure, message, player, table, verdict
from omnikit.report.pictures import f0_overlay, file_uri, sound_figure, training_curve, unit_strip
from omnikit.serving.demo import Answer, Take
from omnikit.serving.measure import Reading, Sound
from omnikit.serving.swaps import LiveTokenizer, StyleOff
from omnikit.types import Units


def answer_card(number: int, answer: Answer) -> str:
    """One question: picture, what was asked, heard, answered and how, with players and drawings."""
    asked, turn = answer.asked, answer.reply.turn
    wrong, said = answer.word_errors
    rows = [
        (
            "asked",
            f"“{escape(asked.question)}” <span class='dim'>by {escape(asked.voice)}, a voice no training heard</span>",
        ),
        ("heard", f"“{escape(turn.user_text or '')}” <span class='dim'>{wrong} of {said} words wrong</span>"),
        ("answered", f"“{escape(turn.text)}” {verdict(answer.right, 'right', 'not right')}"),
    ]
    if not answer.right:
        rows.append(("right would be", f"“{escape(asked.answer)}”"))
    facts = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return f"""
<article class="card" id="question-{number}">
<h3>Question {number}</h3>
<div class="columns">
<div class="side">
<img class="scene" src="{file_uri(asked.image)}" width="192" height="192"
alt="the picture that is asked about: coloured shapes in a two by two grid">
<p class="label">The question, spoken</p>{player(answer.question, f"question {number}, spoken")}
<p class="label">The answer, spoken</p>{_reply_player(number, answer)}
</div>
<div class="main"><dl class="turn">{facts}</dl>{_style_table(answer)}{_speech_facts(answer)}</div>
<div class="drawings">{_drawings(number, answer)}</div>
</div>
</article>"""


def _reply_player(number: int, answer: Answer) -> str:
    if answer.sound is None:
        return '<p class="no-sound">The model wrote no units here, so there is nothing to hear.</p>'
    return player(answer.sound, f"answer {number}, spoken")


def _style_table(answer: Answer) -> str:
    labels = dict(answer.reply.turn.style.labels[0]) if answer.reply.turn.style.labels else {}
    rows = []
    for factor, value in labels.items():
        wanted = answer.asked.style.get(factor)
        by = "the model" if answer.decided.get(factor) == value else "the default"
        shown = (
            verdict(value == wanted, wanted or "", wanted or "")
            if wanted
            else '<span class="dim">yours to choose</span>'
        )
        rows.append([escape(factor), escape(value), by, shown])
    return table(["style", "spoken", "decided by", "the record says"], rows, "How it is said", 4) if rows else ""


def _speech_facts(answer: Answer) -> str:
    wrong, wanted = answer.phone_errors
    facts = []
    if answer.sound is not None and wanted:
        facts.append(f"<b>{100 * wrong / wanted:.0f} %</b> of {wanted} phones misread when the answer is heard again")
    timings = " · ".join(f"{escape(name)} {seconds:.2f} s" for name, seconds in answer.reply.timings.items())
    facts.append(f"took {timings}")
    if not answer.reply.turn.parse_ok:
        facts.append("the reply was malformed; what could be read of it is shown")
    return "".join(f'<p class="small">{fact}</p>' for fact in facts)


def _drawings(number: int, answer: Answer) -> str:
    parts = [_strip(answer.question_units, answer.question_colours, f"Units of question {number}")]
    if answer.sound is not None and answer.reply.turn.units is not None and answer.reply_colours is not None:
        parts.append(
            _strip(answer.reply.turn.units, answer.reply_colours, f"Units of answer {number}, as the model wrote them")
        )
        parts.append(
            figure(
                sound_figure(answer.sound, _about(f"Answer {number}", answer.sound)),
                "The answer: waveform, spectrogram and F0",
            )
        )
    else:
        parts.append(
            figure(
                sound_figure(answer.question, _about(f"Question {number}", answer.question)),
                "The question: waveform, spectrogram and F0",
            )
        )
    return "".join(parts)


def _strip(units: Units, colours: Tensor, what: str) -> str:
    length = int(units.lengths[0])
    ids = units.codes[0, 0, :length].tolist()
    rate = float(units.rate)
    about = f"{what}: {length} units at {rate:g} Hz, {len(set(ids))} different ones"
    caption = f"{escape(what)}: {length} at {rate:g} Hz; like colours are like units"
    return figure(unit_strip(ids, colours[:length].cpu().numpy(), rate, about), caption)


def _about(what: str, sound: Sound) -> str:
    pitch = "no voiced sound" if math.isnan(sound.median_f0_hz) else f"median F0 {sound.median_f0_hz:.0f} Hz"
    drawn = "Waveform above a spectrogram up to 8 kHz with the F0 curve."
    return f"{what}: {sound.duration_s:.2f} s of sound, {pitch}. {drawn}"


def emotions(takes: Sequence[Take], text: str) -> str:
    """One reply in every emotion, speaker by speaker: players, F0 curves, and what the rule asks beside what came."""
    speakers: dict[str, list[Take]] = {}
    for take in takes:
        speakers.setdefault(take.labels.get("gender", "the voice"), []).append(take)
    parts = [f"<p>“{escape(text)}” — the same units each time; only the style differs.</p>"]
    for speaker, own in speakers.items():
        players = "".join(
            f'<div class="take"><p class="label"><span class="swatch line-{escape(_emotion(take))}"></span>'
            f"{escape(_emotion(take))}</p>"
            f"{player(take.sound, f'the reply, {take.name}')}</div>"
            for take in own
        )
        curves = f0_overlay(
            [(_emotion(take), take.sound) for take in own], f"F0 curves of the {speaker} speaker in {len(own)} emotions"
        )
        parts.append(
            f'<article class="card"><h3>{escape(speaker)} speaker</h3><div class="takes">{players}</div>'
            f'<div class="columns two"><div>{figure(curves, "F0 of the same reply in every emotion")}</div>'
            f"<div>{_take_table(own)}</div></div></article>"
        )
    return "".join(parts)


def _emotion(take: Take) -> str:
    return take.labels.get("emotion", "neutral")


def _take_table(takes: Sequence[Take]) -> str:
    rows = [
        [
            escape(_emotion(take)),
            f"{take.sound.duration_s:.2f}",
            _pair(take.duration_factor, take.rule.duration_factor, "{:.2f}"),
            _number(take.sound.median_f0_hz, "{:.0f}"),
            _pair(take.shift_semitones, take.rule.semitones, "{:+.1f}"),
            _pair(20 * math.log10(max(take.level_factor, 1e-9)), 20 * math.log10(take.rule.gain), "{:+.1f}"),
        ]
        for take in takes
    ]
    head = ["emotion", "lasts, s", "× neutral", "median F0, Hz", "semitones", "level, dB"]
    return table(head, rows, "Measured; in brackets what the style rule asks, against neutral")


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) or math.isinf(value) else form.format(value)


def _pair(measured: float, asked: float, form: str) -> str:
    return f'{_number(measured, form)} <span class="dim">({form.format(asked)})</span>'


def style_off(found: StyleOff) -> str:
    """Swap one: the style switched off."""
    return f"""
<article class="card"><h3>Swap 1 · the style: <code>style=none</code></h3>
<p>The detokenizer was trained with a style vector. Taking the style away is therefore refused before anything is
loaded:</p>
{message(found.refusal, "What negotiating the system with style=none answers")}
<p>The way out is <code>{escape(found.fix)}</code>, which makes it another part: {escape(found.report)}
It has to be trained again. What both ways sound like now:</p>
<div class="takes">
<div class="take"><p class="label">every style at its default</p>
{player(found.one_voice, "the reply in the default style")}
<p class="small">{_facts(found.one_voice)}</p></div>
<div class="take"><p class="label">without the style input, not trained again</p>
{player(found.untrained, "the reply without the style input")}
<p class="small">{_facts(found.untrained)}</p></div>
</div>
{message(found.asked, "What asking this system for emotion=sad answers") if found.asked else ""}
</article>"""


def _facts(sound: Sound) -> str:
    pitch, level = _number(sound.median_f0_hz, "{:.0f} Hz"), _number(sound.level_db, "{:.0f} dB")
    return f"{sound.duration_s:.2f} s · median F0 {pitch} · {level}"


def live_swap(live: LiveTokenizer | None) -> str:
    """Swap two: a tokenizer variant that was trained during this run."""
    if live is None:
        left_out = "<p>Left out of this run (<code>--skip-live</code>).</p>"
        return f'<article class="card"><h3>Swap 2 · a tokenizer variant</h3>{left_out}</article>'
    change = " ".join(f"tokenizer.{name}={_plain(value)}" for name, value in live.change.items())
    last = live.curve[-1]
    curve = training_curve(
        live.curve,
        live.curve_reference,
        f"Phones misread: from {100 * live.curve[0].phone_error:.0f} % to {100 * last.phone_error:.0f} % "
        f"in {last.seconds:.0f} s of training",
    )
    rows = [
        ["phones misread", *(f"{100 * r.phone_error.value:.1f} %" for r in (live.before, live.after))],
        [
            "95 % interval",
            *(f"{100 * r.phone_error.low:.1f} – {100 * r.phone_error.high:.1f} %" for r in (live.before, live.after)),
        ],
        ["units in the codebook", *(f"{r.num_units:,}" for r in (live.before, live.after))],
        ["different units used", *(_used(r) for r in (live.before, live.after))],
        ["entropy of a unit", *(f"{r.use.bits:.1f} bit" for r in (live.before, live.after))],
        ["bit rate", *(f"{live.bits_per_s(r):.0f} bit/s" for r in (live.before, live.after))],
    ]
    caption = (
        f"{live.before.phone_error.num_items} utterances ({live.before.seconds:.0f} s) of voices that no training heard"
    )
    return f"""
<article class="card"><h3>Swap 2 · the tokenizer: <code>{escape(change)}</code></h3>
<p>Trained during this run for {last.seconds:.0f} s ({last.step} steps), from the shipped weights:
{escape(live.report)}</p>
<div class="columns two">
<div>{figure(curve, "Phones misread while it learns; dashed: the shipped tokenizer on the same utterances")}</div>
<div>{table(["", "shipped", "trained now"], rows, caption)}</div>
</div>
{_consequences(live, change)}
</article>"""


def _consequences(live: LiveTokenizer, change: str) -> str:
    """What the rest of the system makes of the new tokenizer."""
    if not live.refusal:
        return "<p>The system can use it at once: its contracts fit.</p>"
    to_train = "".join(f"<li>{escape(slot)}: it knows the shipped units only</li>" for slot in live.to_train)
    command = f"omnikit train experiment=emova_tiny {change} stage=…"
    return f"""
<p>Could the system use it at once? No, and it says so, as its units mean something else:</p>
{message(live.refusal, "What negotiating the system with this tokenizer answers")}
<p>To be trained again for it, stage by stage, with <code>{escape(command)}</code>:</p><ul>{to_train}</ul>"""


def _plain(value: object) -> str:
    return str(value).replace(" ", "")


def _used(reading: Reading) -> str:
    return f"{round(reading.use.used * reading.num_units):,} ({100 * reading.use.used:.0f} %)"


def meta(about: Mapping[str, str]) -> str:
    """The run's particulars as a list."""
    return (
        '<dl class="meta">'
        + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in about.items())
        + "</dl>"
    )
