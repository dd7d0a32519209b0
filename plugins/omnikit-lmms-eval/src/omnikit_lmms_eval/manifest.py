"""How lmms-eval knows the model: by the id `omnikit`; the class is imported when it is chosen."""

from __future__ import annotations

from lmms_eval.models.registry_v2 import ModelManifest


def manifest() -> ModelManifest:
    """The model `omnikit`, and the class that stands for it."""
    return ModelManifest(model_id="omnikit", simple_class_path="omnikit_lmms_eval.model.OmnikitModel")
