"""What is known of a published family of weights: how to recognise it in a file, and what component it becomes.

To teach omnikit one more family, write `published/<family>.py` with one `Layout` and put it into the table of
`layouts.py`; nothing else changes, `omnikit.load("file#slot")` and `omnikit load` find it there:

1. `anchor`: the full name of a tensor that only this family has, as its own code names it. What stands before it in a
   file (`encoder.`, `model.`, `module.`, …) is a prefix and is taken off; a file may hold several families.
2. `parameters`: constructor parameters of our component, read from tensor shapes. What shapes cannot say (attention
   heads, activations) is in the `config.json` beside the file, or is a constant of the family, with its source.
3. `rename`, only where our names are not the family's: their name → ours, `None` for a tensor that is not needed.
   Spellings that differ by the tool that wrote the file (`names.plain`) are taken care of before.
4. `convert`, where names alone do not do: their tensors, and the `config.json` beside the file, → ours.
5. `make`, where a component needs further files of the folder; `fit`, where its sizes are not those of the file.
6. `named_by`, where the component carries a name made from its weights, as training gives it.

Loading is strict: a tensor that is missing, unknown or of another shape is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from omnikit.slots.base import Component

Tensors = Mapping[str, Tensor]
Beside = Mapping[str, Component]
"""Parts that were read before this one, by slot: a detokenizer belongs to the `vocab_id` of the tokenizer beside it."""


def made(design: type[Component], parameters: dict[str, Any], folder: Path, config: Mapping[str, Any]) -> Component:
    """The component that its parameters make."""
    return design(**parameters)


def fitting(component: Component, tensors: Tensors) -> Tensors:
    """The tensors have the sizes of the component."""
    return tensors


def same_name(name: str) -> str | None:
    """The family's names are ours."""
    return name


def same_tensors(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """The family's tensors are ours."""
    return tensors


@dataclass(frozen=True)
class Layout:
    """One family of published weights and the component that it becomes.

    `parameters` takes the family's tensors (prefix off, in plain spelling), the configuration and parts read before;
    `reads` names the slots of those that it asks for. `named_by` is the constructor parameter that gets a name made of
    the weights, and `name_prefix` how it begins.
    """

    about: str
    component_id: str
    anchor: str
    parameters: Callable[[Tensors, Mapping[str, Any], Beside], dict[str, Any]]
    rename: Callable[[str], str | None] = same_name
    convert: Callable[[Tensors, Mapping[str, Any]], Tensors] = same_tensors
    make: Callable[[type[Component], dict[str, Any], Path, Mapping[str, Any]], Component] = made
    fit: Callable[[Component, Tensors], Tensors] = fitting
    reads: tuple[str, ...] = ()
    named_by: str | None = None
    name_prefix: str = ""

    @property
    def slot(self) -> str:
        """The slot that the component fills."""
        return self.component_id.partition("/")[0]
