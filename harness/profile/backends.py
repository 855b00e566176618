"""Ways of running a network. Each first converts it (slow, once), then starts what came of that.

The two steps are apart because the result of the first can be handed to another process, where
memory is measured without what the conversion itself needs.
"""

from __future__ import annotations

import copy
import os
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from harness import sparse

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Backend:
    """One way. unavailable: "" or why it cannot run on a device, and what to do about it.

    convert: eval-mode network and example images (N,C,H,W) -> what `start` takes.
    """

    name: str
    unavailable: Callable[[torch.device], str]
    convert: Callable[[nn.Module, Tensor], Any]
    start: Callable[[Any, Tensor], Forward]


def _always(device: torch.device) -> str:
    return ""


def _plain(network: nn.Module, images: Tensor) -> nn.Module:
    return copy.deepcopy(network).to(memory_format=torch.contiguous_format)


def _as_it_is(network: nn.Module, images: Tensor) -> Forward:
    return network


def _channels_last(network: nn.Module, images: Tensor) -> nn.Module:
    return copy.deepcopy(network).to(memory_format=torch.channels_last)


def _run_channels_last(network: nn.Module, images: Tensor) -> Forward:
    def forward(value: Tensor) -> Tensor:
        output: Tensor = network(value.contiguous(memory_format=torch.channels_last))
        return output

    return forward


def missing_compiler(device: torch.device) -> str:
    """Why torch.compile has nothing to compile with, and what to do; "" if it has.

    The compilers are those that torch itself looks for.
    """
    if device.type == "cuda":
        return "" if find_spec("triton") else "torch.compile needs Triton: pip install triton"
    if device.type != "cpu":
        return f"torch.compile is used on CPUs and CUDA devices, not on {device.type}"
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler):
        return ""
    return f"torch.compile needs a C++ compiler, and {compiler} is not there. Install it or set CXX"


def _compiled(network: nn.Module, images: Tensor) -> Forward:
    def forward(value: Tensor) -> Tensor:
        output: Tensor = network(value)
        return output

    # A code object of its own: torch keeps compiled forms per code object, only a few of each, and
    # goes back to eager execution beyond that.
    own = types.FunctionType(
        forward.__code__.replace(), forward.__globals__, closure=forward.__closure__
    )
    compiled: Forward = torch.compile(own, dynamic=False, fullgraph=True)
    return compiled


def _no_onnx(device: torch.device) -> str:
    if device.type != "cpu":
        return "onnxruntime is timed on the CPU only"
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed. Install the extra: pip install 'reprune[latency]'"
    return ""


def _to_onnx(network: nn.Module, images: Tensor) -> bytes:
    with sparse.quiet_exporter():
        exported = torch.onnx.export(network, (images,), dynamo=True, verbose=False)
    assert exported is not None, "dynamo exports return a program"
    model: bytes = exported.model_proto.SerializeToString()
    return model


def _onnx_session(model: bytes, images: Tensor) -> Forward:
    return sparse.onnx_session(model)


def _to_sparse(network: nn.Module, images: Tensor) -> nn.Module:
    compiled: nn.Module = sparse.compile(network, images, slower="keep")
    return compiled


RUNNERS = {  # the names are results.BACKENDS, in that order
    backend.name: backend
    for backend in (
        Backend("eager", _always, _plain, _as_it_is),
        Backend("channels_last", _always, _channels_last, _run_channels_last),
        Backend("compile", missing_compiler, _plain, _compiled),
        Backend("onnxruntime", _no_onnx, _to_onnx, _onnx_session),
        Backend("sparse", _always, _to_sparse, _as_it_is),
    )
}
