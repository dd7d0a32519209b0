"""What every component is: a torch module that remembers the parameters it was made with."""

from __future__ import annotations

from abc import ABCMeta
from itertools import chain
from typing import Any

import torch
from torch import nn

from omnikit.contracts import Contract, bind_parameters


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
