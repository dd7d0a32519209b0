"""Components around a published encoder: what is kept beside their weights, so that nothing is fetched again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

ARCHITECTURE = "encoder"
"""The folder, beside the weights of a component, of what its encoder is built from."""


class AroundPublished:
    """For components whose `encoder` may be a published one, named by `pretrained` in a group of their parameters.

    The encoder says so (`is_published`) and writes what is needed to build it again without weights
    (`save_architecture(folder)`); `model_group` is the group's name.
    """

    model_group: ClassVar[str] = "model"
    encoder: Any

    @classmethod
    def restore_parameters(cls, parameters: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Parameters to make the component from when its weights are in `folder`: nothing is downloaded again."""
        kept = folder / ARCHITECTURE
        if not kept.is_dir():
            return parameters
        return {**parameters, cls.model_group: {**parameters[cls.model_group], "pretrained": str(kept)}}

    def save_extra(self, folder: Path) -> None:
        """Write what a published encoder needs besides weights and parameters: its configuration."""
        if getattr(self.encoder, "is_published", False):
            self.encoder.save_architecture(folder / ARCHITECTURE)
