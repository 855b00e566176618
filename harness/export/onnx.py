"""A network as an ONNX file, for any number of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from harness.errors import ProtocolError, RegistryError
from harness.models import input_size
from harness.profile import quiet_exporter
from harness.registry import data_set

INPUT, OUTPUT = "images", "logits"
EXAMPLES = 2  # one image would be taken for a constant


def write_onnx(
    network: nn.Module, model: str, dataset: str, target: Path, about: Mapping[str, str]
) -> None:
    """Write `network` (eval mode, CPU) to `target`: input `images`, output `logits`, both (N, ...).

    about: facts kept inside the file, see `about_network`. Zeros stay in place: the file is as
    large as a dense one.
    Raises ProtocolError if the exporter is missing or cannot follow the network.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        msg = f"{error.name} is not installed. Install the extra: pip install 'reprune[latency]'"
        raise ProtocolError(msg) from error
    side = _side(model, dataset)
    images = torch.zeros(EXAMPLES, data_set(dataset).channels, side, side)
    try:
        with quiet_exporter():
            program = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("images")},),
            )
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"{about.get('reprune.entry', model)}: the exporter cannot follow {model}: {reason}"
        raise ProtocolError(f"{msg}. Try: --to safetensors") from error
    assert program is not None, "dynamo exports return a program"
    program.model.metadata_props.update(about)
    program.save(target, external_data=False)


def _side(model: str, dataset: str) -> int:
    """Pixels per side of what `model` reads; code of one's own does not say it, its data does."""
    try:
        return input_size(model)
    except RegistryError:
        return data_set(dataset).side
