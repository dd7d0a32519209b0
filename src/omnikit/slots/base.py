"""What every component is: a torch module that remembers the parameters it was made with."""

from __future__ import annotations

from abc import ABCMeta
from itertools import chain
from typing import Any

import torch
from torch import nn

from omnikit.contracts import Contract, bind_parameters
from omnikit.errors import OmnikitError
from omnikit.slots.card import html_card
from omnikit.slots.graph import Graph


class _Remembering(ABCMeta):
    """Keeps the full constructor parameters on the instance, so that a component can be saved and made again."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if args:
            raise TypeError(f"{cls.__name__} takes its parameters by name")
        instance = super().__call__(**kwargs)
        instance.parameters_given = bind_parameters(cls.__name__, cls, kwargs)
        return instance


class Component(nn.Module, metaclass=_Remembering):
    """Base of every component. Constructor parameters are plain data, given by name."""

    parameters_given: dict[str, Any]

    @classmethod
    def contract(cls, **parameters: Any) -> Contract:
        """Ports for these constructor parameters; runs in microseconds and allocates nothing."""
        raise TypeError(f"{cls.__name__} declares no contract; write `contract(cls, ...)` beside its constructor.")

    @property
    def device(self) -> torch.device:
        """Where the component's tensors live."""
        tensors = chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    def as_graph(self) -> Graph:
        """Its inference as one function of tensors, for other runtimes (`omnikit.export`).

        Raises `OmnikitError` where it has none.
        """
        raise OmnikitError(
            f"{type(self).__name__} cannot be exported: it gives no graph of its inference.\n"
            "A tokenizer's encode and a detokenizer's decode become graphs where they have a method as_graph."
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return html_card(self, self.parameters_given)
