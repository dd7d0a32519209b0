"""`omnikit report SWEEP [--against OTHER]`: from the folder of a sweep to tables, plots and a page to listen on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omnikit.errors import OmnikitError

if TYPE_CHECKING:
    from omnikit.report.ablation_tables import Table

HELP = """Report a sweep that `omnikit ablate` runs or ran; it may be half finished, failed in places, or damaged.
Prints the main tables as Markdown and writes, into SWEEP/report or the folder of --out:

  report.html     one page that needs no network: tables, plots, listening with a blind A/B/X test
  report.md       the same tables
  tables.tex      for LaTeX with booktabs
  results.csv     a row an arm and metric, every digit
  results.jsonl   a line a run and metric

  omnikit report runs/tokenizer_swap
  omnikit report runs/tokenizer_swap --against runs/tokenizer_swap_before
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("sweep", type=Path, help="the folder of a sweep")
    parser.add_argument("--against", type=Path, metavar="OTHER", help="another sweep, compared arm by arm")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write; SWEEP/report by default")


def run(args: argparse.Namespace) -> int:
    """Read, compute, print and write."""
    from omnikit.ablation.files import write_text
    from omnikit.report.ablation_against import against, against_tables
    from omnikit.report.ablation_folder import read_sweep
    from omnikit.report.ablation_listening import prompts
    from omnikit.report.ablation_page import about, all_tables, answer, render_ablation
    from omnikit.report.ablation_results import evaluate
    from omnikit.report.ablation_tables import difference_table, result_tables
    from omnikit.report.ablation_writers import csv_text, jsonl, latex, markdown, markdown_table

    results = evaluate(read_sweep(args.sweep))
    compared = against(results, evaluate(read_sweep(args.against))) if args.against else None
    listed, notes = prompts(results.sweep)
    results = replace(results, problems=(*results.problems, *notes))
    tables: list[Table] = all_tables(results) + (against_tables(results, compared) if compared else [])
    problems = [*results.problems, *(compared.refused if compared else ())]
    title = results.sweep.question or results.sweep.name
    files = {
        "report.html": render_ablation(results, listed, compared),
        "report.md": markdown(title, answer(results), about(results), tables, problems),
        "tables.tex": latex(tables, f"omnikit report {results.sweep.name}"),
        "results.csv": csv_text(results),
        "results.jsonl": jsonl(results),
    }
    folder = args.out or args.sweep / "report"
    try:
        for name, text in files.items():
            write_text(folder / name, text)
    except OSError as error:
        raise OmnikitError(f"The report cannot be written to {folder}: {error}.\nChoose another --out.") from error
    shown = [*result_tables(results)[:1], *(difference_table(results, column) for column in results.primary)]
    shown += against_tables(results, compared) if compared else []
    print("\n\n".join([answer(results), *map(markdown_table, shown)]))
    _say("missing or broken", problems)
    print(f"\nwrote {', '.join(files)} in {folder}")
    return 0


def _say(title: str, lines: Sequence[str]) -> None:
    if lines:
        print(f"\n{title}:", *(f"  - {line}" for line in lines), sep="\n")
