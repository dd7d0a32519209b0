"""The page of one component, and the list of all of them, as Markdown."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import yaml
from component_pages.conformance import read_record, sentence_of
from component_pages.docstrings import Docstring, read_docstring
from component_pages.drawing import draw_contract
from component_pages.licences import licence_lines
from component_pages.partners import Meeting, meetings_of, strangers_of
from component_pages.use import use_of
from component_pages.variants import every_variant

from omnikit.contracts import DERIVED, signature_of
from omnikit.registry import Description, available, describe, entries, fault_of, resolve, slots
from omnikit.testing import suite_of

INDEX = "components/index.md"
_MARKS = {"fits": "✓", "fits with": "±", "does not fit": "✗", "not applicable": "–"}
_CASE_MARKS = {"passed": "✓", "failed": "✗", "not applicable": "–"}


def path_of(component_id: str) -> str:
    """Where the page of a component is, below the documentation's root."""
    return f"components/{component_id}.md"


def every_page(results: Path) -> dict[str, str]:
    """All pages by path; `results` is the folder of conformance records."""
    usable = [component_id for component_id in available() if not fault_of(component_id)]
    pages = {INDEX: index_page(usable, results)}
    return pages | {path_of(component_id): component_page(component_id, results) for component_id in usable}


def index_page(usable: list[str], results: Path) -> str:
    """Every component with its first sentence, by slot; what cannot be used, with its reason."""
    lines = ["---", "hide: [toc]", "---", "", "# Components", ""]
    lines += ["What is registered here, plugins included: `omnikit ls` prints the same list."]
    for slot in slots():
        about = (inspect.getdoc(suite_of(slot).base) or "").split("\n\n")[0].replace("\n", " ")
        lines += ["", f"## {slot}", "", about, "", "| component | what it is | promises |", "|---|---|---|"]
        for component_id in (item for item in usable if item.startswith(f"{slot}/")):
            name = component_id.partition("/")[2]
            record = read_record(results, component_id)
            kept = sentence_of(record) if record else "not held for this build"
            summary = read_docstring(resolve(component_id)).summary
            lines.append(f"| [{name}]({component_id}.md) | {_cell(summary)} | {kept} |")
    faults = {item: fault_of(item) for item in sorted({*available(), *entries()})}
    broken = [f"- `{item}`: {fault}" for item, fault in faults.items() if fault]
    return "\n".join([*lines, *(["", "## Cannot be used", "", *broken] if broken else [])]) + "\n"


def component_page(component_id: str, results: Path) -> str:
    """Everything about one component."""
    told, doc = describe(component_id), read_docstring(resolve(component_id))
    sections = {
        "Parameters": _parameters(told, doc),
        "Variants": _variants(component_id),
        "Fits": _meetings(component_id),
        "Sources": _sources(doc),
        "Conformance": _conformance(component_id, results),
        "Licence": licence_lines(component_id),
    }
    lines = [f"# {component_id}", "", doc.summary, "", draw_contract(component_id, told.contract), ""]
    contract = doc.sections.get("Contract", "")
    lines += [f"{paragraph}\n" for paragraph in [contract[:1].upper() + contract[1:], *doc.text] if paragraph]
    lines += [*_use(component_id), ""]
    for title, body in sections.items():
        inside = list(body)
        lines += [f"## {title}", "", *inside, ""] if inside else []
    return "\n".join(lines)


def _use(component_id: str) -> Iterator[str]:
    slot, _, name = component_id.partition("/")
    shell = [f"omnikit describe {component_id}", f"omnikit conformance {component_id}"]
    shell.insert(1, f"omnikit check experiment=emova_tiny {slot}={name}   # does it fit the tiny system?")
    for title, language, code in (("Python", "python", use_of(component_id)), ("Command line", "sh", "\n".join(shell))):
        yield f'=== "{title}"\n'
        yield "\n".join(f"    {line}".rstrip() for line in [f"```{language}", *code.splitlines(), "```", ""])


def _parameters(told: Description, doc: Docstring) -> Iterator[str]:
    known = signature_of(resolve(told.id))
    groups = {name: value for name, value in told.parameters.items() if isinstance(value, Mapping) and value}
    if not known:
        yield "It has none."
        return
    yield "| name | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, item in known.items():
        default = "a group, below" if name in groups else _default(told.parameters[name])
        meaning = doc.meanings.get(name, "")
        silent = told.parameters[name] == DERIVED and "derived" not in meaning
        derived = "Derived in a system, from the other end of its wire." if silent else ""
        said = " ".join(part for part in (meaning[:1].upper() + meaning[1:], derived) if part) or "–"
        yield f"| {_code(name)} | {_code(_type(item))} | {default} | {_cell(said)} |"
    if groups:
        text = yaml.safe_dump(_data(groups), sort_keys=False, default_flow_style=None, width=100)
        yield from _folded("defaults of the groups", "yaml", text)


def _type(item: inspect.Parameter) -> str:
    said = item.annotation
    return said if isinstance(said, str) else getattr(said, "__name__", str(said))


def _default(value: Any) -> str:
    if isinstance(value, str) and value in (DERIVED, "required"):
        return f"*{value}*"
    return _code(repr(_data(value)))


def _data(value: Any) -> Any:
    """Tuples as lists, as configs write them."""
    if isinstance(value, Mapping):
        return {name: _data(item) for name, item in value.items()}
    return [_data(item) for item in value] if isinstance(value, list | tuple) else value


def _variants(component_id: str) -> Iterator[str]:
    slot = component_id.split("/")[0]
    for variant in every_variant().get(component_id, []):
        yield f"- `{slot}={variant.name}`" + (f": {variant.about}" if variant.about else "")
        values = "\n".join(line for line in variant.source.splitlines() if not line.startswith("#"))
        yield from _folded("its file", "yaml", values, "    ")


def _folded(title: str, language: str, text: str, indent: str = "") -> Iterator[str]:
    """A block that opens on a click."""
    yield f'\n{indent}??? quote "{title}"\n'
    yield "\n".join(f"{indent}    {line}".rstrip() for line in [f"```{language}", *text.strip().splitlines(), "```"]) + "\n"


def _meetings(component_id: str) -> Iterator[str]:
    yield (
        "Held against every component at its defaults, wire by wire, as a system does before it allocates a weight. "
        "✓ fits, ± fits with the change that is named, ✗ does not fit, – nothing flows there.\n"
    )
    for meeting in meetings_of(component_id):
        yield f"### {meeting.slot}\n"
        through = f", through {meeting.middle}, which passes on what it is told" if meeting.middle else ""
        yield "Wires: " + ", ".join(f"`{wire}`" for wire in meeting.wires) + f"{through}\n"
        yield from _partners(component_id, meeting)
    strangers = [f"[{slot}](../index.md#{slot})" for slot in strangers_of(component_id)]
    if strangers:
        yield f"It says nothing to {', '.join(strangers)}: any component there goes with it."


def _partners(component_id: str, meeting: Meeting) -> Iterator[str]:
    yield "| | component | why |"
    yield "|---|---|---|"
    for partner in meeting.partners:
        link = f"[{partner.component.partition('/')[2]}](../{partner.component}.md)"
        yield f"| {_MARKS[partner.outcome]} | {link} | {_code(partner.why)} |"
    yield ""


def _sources(doc: Docstring) -> Iterator[str]:
    if doc.sections.get("Ref"):
        yield doc.sections["Ref"] + "\n"
    if doc.sections.get("Raises"):
        yield f"Raises {doc.sections['Raises']}"


def _conformance(component_id: str, results: Path) -> Iterator[str]:
    record = read_record(results, component_id)
    if record is None:
        yield f"Not held for this build. `omnikit conformance {component_id}` does it."
        return
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    sizes = yaml.safe_dump(record["parameters"], default_flow_style=True, width=10_000).strip()
    yield f"**{sentence_of(record)}** ({versions}, Python {record['python']}; contract API {record['contract_api']}).\n"
    yield f"Held with the parameters {_code(sizes)}.\n" if record["parameters"] else "Held with its defaults.\n"
    yield '??? quote "every promise"\n'
    yield "    | | case | promise |\n    |---|---|---|"
    for case in record["cases"]:
        said = case["promise"] if case["outcome"] == "passed" else f"{case['promise']} *{case['detail']}*"
        yield f"    | {_CASE_MARKS[case['outcome']]} | `{case['case']}` | {_cell(said)} |"


def _cell(text: str) -> str:
    """Text inside a table."""
    return text.replace("|", r"\|").replace("\n", " ")


def _code(text: str) -> str:
    """Code inside a table, where a bar would end the cell."""
    return f"<code>{escape(text, quote=False).replace('|', '&#124;')}</code>"
