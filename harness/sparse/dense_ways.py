"""Ways to run a whole network that know nothing of zeros: what a sparse network has to beat."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]
EAGER, ONNX = "eager", "onnxruntime"
OPSET = 17  # the newest that the quick exporter writes


def dense_ways(model: nn.Module, images: Tensor) -> tuple[dict[str, Forward], dict[str, str]]:
    """Name -> forward of every dense way for batches like `images`, and why others are missing.

    model: in eval mode on the CPU; it is not changed.
    """
    ways: dict[str, Forward] = {EAGER: model}
    left_out: dict[str, str] = {}
    if find_spec("onnxruntime") is None or find_spec("onnx") is None:
        left_out[ONNX] = "not installed; the extra `latency` brings it"
        return ways, left_out
    try:
        ways[ONNX] = onnx_session(quick_onnx(model, images))
    except Exception as error:  # exporters and sessions raise whatever they like
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        left_out[ONNX] = f"it does not take this network: {first[:160]}"
    return ways, left_out


def quick_onnx(model: nn.Module, images: Tensor, opset: int = OPSET) -> bytes:
    """The network as ONNX, any number of images, by the exporter that records one pass.

    It takes seconds less than torch's newer one, and writes what older runtimes read.
    """
    file = io.BytesIO()
    with quiet_exporter(), torch.no_grad():
        torch.onnx.export(
            model,
            (images,),
            file,  # type: ignore[arg-type]  # a file in memory does as well
            dynamo=False,
            verbose=False,
            opset_version=opset,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
        )
    return file.getvalue()


def onnx_session(network: bytes) -> Forward:
    """onnxruntime on the CPU with torch's number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def forward(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: images.numpy()})[0])

    return forward


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """torch.onnx warns about its own dependencies; nothing of it is about the network."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
