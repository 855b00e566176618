"""Inference that leaves out what the gates switched off, equal to the masked forward pass."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.ftwt.gates import Gate, detach_gates
from methods.ftwt.layers import GatedLayer

# Measured on CPU, float32, one thread; each only picks between exact ways of computing a layer.
GEMM_POSITIONS = 16  # up to here one matrix product beats the convolution kernel
PER_IMAGE_PIXELS = 64  # from here on gathering weights anew for every image of a batch pays
MIN_MACS = 4_000_000  # below, selecting filters costs more than computing them all


def skip_filters(model: nn.Module) -> nn.Module:
    """A copy of a gated `model` for inference that computes only the filters it keeps.

    Same outputs as the gated model in evaluation mode up to rounding: batch normalisation is
    folded into the weights, rows whose gate is off are never computed, and input channels that
    arrive as zeros are not read. The copy has nothing to train and is in evaluation mode.
    A single image gains most; in a batch, layers with large maps are gathered per image, the
    others computed once for the filters that any image needs.
    Raises ValueError if the model has no gates or a gated layer cannot be folded.
    """
    model = copy.deepcopy(model).eval()
    gates = detach_gates(model)
    decisions = {layer.conv: Decision() for layer in gates.layers}
    for gate in gates:
        _replace(model, gate, decisions)
    return model.requires_grad_(False)


class Decision:
    """What one gate chose for the batch at hand: `keep` is bool (N,F)."""

    keep: Tensor

    def mask(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """`output` (N,F,H,W) with the filters zeroed that were not chosen; a forward hook."""
        return output * self.keep.to(output.dtype)[:, :, None, None]


class SkipConv(nn.Module):
    """Head, convolution and folded batch normalisation of one gated layer.

    Returns the full width (N,F,H',W'), zeros where the gate is off.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        conv: nn.Conv2d,
        bn: nn.BatchNorm2d | None,
        gate: Gate,
        decision: Decision,
        arriving: Decision | None,
    ) -> None:
        super().__init__()
        weight, bias = _folded(conv, bn)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.gate = gate
        self.decision = decision
        self.arriving = arriving
        self.depthwise = conv.groups == conv.in_channels == conv.out_channels
        self.groups = conv.groups
        self.kernel = conv.kernel_size
        self.stride = conv.stride
        self.dilation = conv.dilation
        if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
            msg = f"convolution {gate.layer.conv!r} needs numeric zero padding to be skipped"
            raise ValueError(msg)
        self.padding = conv.padding

    def forward(self, features: Tensor) -> Tensor:
        """The masked layer output for `features` (N,C,H,W)."""
        keep = self.gate(features) > 0
        self.decision.keep = keep
        height, width = self._output_size(features)
        macs = height * width * self.weight.numel()
        if macs < MIN_MACS or (self.groups > 1 and not self.depthwise):
            return self._convolve(features, None, None) * keep.to(features.dtype)[:, :, None, None]
        arriving = self.arriving.keep if self.arriving else None
        if len(features) == 1 or height * width < PER_IMAGE_PIXELS:
            return self._selected(features, keep, arriving)
        images = [
            self._selected(features[i : i + 1], keep[i : i + 1], _row(arriving, i))
            for i in range(len(features))
        ]
        return torch.cat(images)

    def _selected(self, features: Tensor, keep: Tensor, arriving: Tensor | None) -> Tensor:
        """Output computed for the filters that any image of the batch keeps."""
        rows = keep.any(0).nonzero()[:, 0]
        columns = None if arriving is None else arriving.any(0).nonzero()[:, 0]
        if len(rows) == keep.shape[1]:
            computed = self._convolve(features, None, columns)
            return computed * keep.to(features.dtype)[:, :, None, None]
        out = features.new_zeros(len(features), keep.shape[1], *self._output_size(features))
        if len(rows) == 0:
            return out
        computed = self._convolve(features, rows, columns)
        if len(features) > 1:
            computed = computed * keep[:, rows].to(features.dtype)[:, :, None, None]
        return out.index_copy_(1, rows, computed)

    def _convolve(self, features: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
        """Filters `rows` over input channels `columns`; None = all of them."""
        weight, bias, groups = self.weight, self.bias, self.groups
        if rows is not None:
            weight, bias = weight.index_select(0, rows), bias.index_select(0, rows)
        if self.depthwise and rows is not None:
            features, groups = features.index_select(1, rows), len(rows)
        elif groups == 1 and columns is not None and len(columns) < features.shape[1]:
            if len(columns) == 0:
                size = (len(features), -1, *self._output_size(features))
                return bias[:, None, None].expand(size)
            weight = weight.index_select(1, columns)
            features = features.index_select(1, columns)
        height, width = self._output_size(features)
        if groups == 1 and len(features) * height * width <= GEMM_POSITIONS:
            return self._multiply(features, weight, bias)
        return F.conv2d(features, weight, bias, self.stride, self.padding, self.dilation, groups)

    def _multiply(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The convolution as one matrix product, for maps of a few pixels."""
        patches = F.unfold(features, self.kernel, self.dilation, self.padding, self.stride)
        positions = patches.transpose(1, 2).flatten(0, 1)
        product = torch.addmm(bias, positions, weight.flatten(1).t())
        per_image = product.unflatten(0, (len(features), -1)).transpose(1, 2)
        return per_image.reshape(len(features), -1, *self._output_size(features))

    def _output_size(self, features: Tensor) -> tuple[int, int]:
        height, width = (
            (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for size, pad, dilation, kernel, stride in zip(
                features.shape[2:],
                self.padding,
                self.dilation,
                self.kernel,
                self.stride,
                strict=True,
            )
        )
        return height, width


def _replace(model: nn.Module, gate: Gate, decisions: Mapping[str, Decision]) -> None:
    """Put a SkipConv where the gate's convolution was; its batch normalisation disappears."""
    layer: GatedLayer = gate.layer
    conv = model.get_submodule(layer.conv)
    bn = model.get_submodule(layer.bn) if layer.bn else None
    assert isinstance(conv, nn.Conv2d)  # checked when the gates were attached
    if bn is not None and not (isinstance(bn, nn.BatchNorm2d) and bn.running_mean is not None):
        msg = (
            f"{layer.bn!r} keeps no running statistics, so it cannot be folded into {layer.conv!r}"
        )
        raise ValueError(msg)
    arriving = decisions[layer.previous] if layer.previous and layer.narrowed else None
    decision = decisions[layer.conv]
    model.set_submodule(layer.conv, SkipConv(conv, bn, gate, decision, arriving))
    if layer.bn:
        model.set_submodule(layer.bn, nn.Identity())
    if layer.block:
        model.get_submodule(layer.block).register_forward_hook(decision.mask)


def _folded(conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    """Weight and bias of `conv` with `bn` behind it."""
    weight = conv.weight.detach()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
    if bn is None:
        return weight.contiguous(), bias
    assert bn.running_mean is not None and bn.running_var is not None  # checked by the caller
    scale = (bn.running_var + bn.eps).rsqrt()
    if bn.affine:
        scale = scale * bn.weight.detach()
    shift = (bias - bn.running_mean) * scale
    if bn.affine:
        shift = shift + bn.bias.detach()
    return (weight * scale[:, None, None, None]).contiguous(), shift


def _row(keep: Tensor | None, image: int) -> Tensor | None:
    return None if keep is None else keep[image : image + 1]
