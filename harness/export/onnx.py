"""A network as an ONNX file, for any number of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from harness.errors import ProtocolError
from harness.sparse import quiet_exporter

INPUT, OUTPUT = "images", "logits"
EXAMPLES = 2  # one image would be taken for a constant


def write_onnx(
    network: nn.Module,
    model: str,
    shape: tuple[int, int, int],
    target: Path,
    about: Mapping[str, str],
) -> None:
    """Write `network` (eval mode, CPU) to `target`: input `images`, output `logits`, both (N, ...).

    model: its name, for messages. shape: (C,H,W) of the images.
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
    images = torch.zeros(EXAMPLES, *shape)
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
