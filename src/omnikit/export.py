"""Components for other runtimes: a tokenizer's `encode` and a detokenizer's `decode` as ONNX files.

A graph is what a component infers, whole: no streaming, and no noise, which other runtimes would draw differently. The
number of samples or units is free. Rates, sizes, the vocabulary and the style space of the contract are written into
the file's metadata.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from omnikit.contracts import contract_of, show
from omnikit.errors import OmnikitError
from omnikit.nn.extras import extra
from omnikit.registry import id_of

if TYPE_CHECKING:
    from omnikit.slots.base import Component

OPSET = 18
"""The ONNX operator set that files are written in."""


def onnx(component: Component, path: str | Path, *, without_noise: bool = False) -> Path:
    """Write the inference of `component` as an ONNX file and return its path; the component is left as it is.

    A component that draws random numbers is exported `without_noise` or not at all. Raises `OmnikitError` for that, for
    a component without a graph, and where the extra `onnx` is not installed.
    """
    extra("onnxscript", "onnx", "Exporting to ONNX")
    import torch

    name = id_of(type(component))
    graph = component.as_graph()
    if graph.samples and not without_noise:
        raise OmnikitError(
            f"{name} draws random numbers, and an ONNX file cannot draw the same ones.\n"
            "Export what it gives without noise: without_noise=True, or --without-noise on the command line."
        )
    shapes = tuple(dict(item.free) or None for item in graph.inputs.values())
    with torch.no_grad():
        program = torch.onnx.export(
            graph.module.eval(),
            tuple(item.example for item in graph.inputs.values()),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(_facts(component, name))
    target = Path(path).expanduser()
    target.parent.mkdir(parents=True, exist_ok=True)
    program.save(target)
    return target


def _facts(component: Component, name: str) -> dict[str, str]:
    """What a caller has to know: who made the file, and every fact of the contract's ports."""
    contract = contract_of(type(component), component.parameters_given)
    facts = {"omnikit": metadata.version("omnikit-core"), "component": name}
    for side, ports in (("needs", contract.needs), ("gives", contract.gives)):
        for port_name, port in ports.items():
            facts |= {f"{side}.{port_name}.{fact}": show(value) for fact, value in port.facts() if value is not None}
    return facts
