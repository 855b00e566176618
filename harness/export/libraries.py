"""The same network under the names that torchvision or timm give its layers.

Nothing is taken on trust: the other library's network is built, loaded strictly, and must answer
random pictures as ours does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.errors import ProtocolError
from harness.models import TIMM_PREFIX, input_size

# Own networks that a library has under another name; all others are looked for under their own.
NAMES = {("timm", "mobilenetv1"): "mobilenetv1_100"}
ATOL = 1e-4  # of logits: the same arithmetic in another order moves them by about 1e-6


def library_state(
    network: nn.Module, library: str, model: str, classes: int, channels: int
) -> tuple[dict[str, Tensor], str]:
    """(state dict that loads strictly there, the call that makes the network for it).

    network: in eval mode. Raises ProtocolError saying why the library has no such network.
    """
    name = _name(library, model)
    theirs, call = _built(library, model, name, classes, channels)
    state = _renamed(network.state_dict(), theirs.state_dict(), f"{library}'s {name}", model)
    theirs.load_state_dict(state, strict=True)
    side = input_size(model)
    images = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, other = network(images), theirs.eval()(images)
    if not torch.allclose(ours, other, atol=ATOL):
        worst = float((ours - other).abs().max())
        msg = f"{library}'s {name} has the same layers as {model} but computes something else"
        raise ProtocolError(f"{msg} (logits differ by {worst:.3g}). Try: --to safetensors or onnx")
    return state, call


def _name(library: str, model: str) -> str:
    return NAMES.get((library, model), model.removeprefix(TIMM_PREFIX))


def _built(
    library: str, model: str, name: str, classes: int, channels: int
) -> tuple[nn.Module, str]:
    if library == "timm":
        import timm

        if timm.is_model(name):
            more = "" if channels == 3 else f", in_chans={channels}"
            made: nn.Module = timm.create_model(name, num_classes=classes, in_chans=channels)
            return made, f"timm.create_model({name!r}, num_classes={classes}{more})"
        raise _absent(library, model)
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if model.startswith(TIMM_PREFIX) or name not in known:
        raise _absent(library, model)
    if channels != 3:
        msg = f"torchvision's {name} reads pictures of 3 channels, this one of {channels}"
        raise ProtocolError(f"{msg}. Try: --to timm, safetensors or onnx")
    made = torchvision.models.get_model(name, weights=None, num_classes=classes)
    return made, f"torchvision.models.{name}(num_classes={classes})"


def _absent(library: str, model: str) -> ProtocolError:
    msg = f"{library} has no network like {model!r}"
    return ProtocolError(f"{msg}. Try: --to safetensors or onnx")


def _renamed(
    ours: dict[str, Tensor], theirs: dict[str, Tensor], there: str, model: str
) -> dict[str, Tensor]:
    """Our tensors under their names: equal where the names are, else paired in order."""
    if ours.keys() == theirs.keys():
        pairs = {name: name for name in ours}
    elif len(ours) == len(theirs):
        pairs = dict(zip(theirs, ours, strict=True))
    else:
        msg = f"{there} has {len(theirs)} tensors, {model} has {len(ours)}"
        raise ProtocolError(f"{msg}: another network. Try: --to safetensors or onnx")
    for name, own in pairs.items():
        if theirs[name].shape != ours[own].shape:
            shapes = f"{tuple(theirs[name].shape)}, ours {own} is {tuple(ours[own].shape)}"
            msg = f"{there}: {name} is {shapes}: another network"
            raise ProtocolError(f"{msg}. Try: --to safetensors or onnx")
    return {name: ours[own].detach().clone().contiguous() for name, own in pairs.items()}
