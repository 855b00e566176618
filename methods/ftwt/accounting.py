"""MACs a gated network spends per image: the paper's count and a strict one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from methods.ftwt.gates import (
    CHILD,
    Gate,
    GateOptions,
    GroundTruth,
    filter_strengths,
    gates_of,
    mass_mask,
    uniform_mask,
)
from methods.ftwt.layers import GatedLayer, activate

# (conv MACs, linear MACs) of the paper's three CIFAR-10 networks -> the constant in its code that
# the reduction is taken from. It contains terms that the dynamic sum lacks (fc, pooling, VGG's
# biases), so even full masks show a small reduction.
PAPER_DENSE = {
    (313_196_544, 5_120): 313_478_144,  # vgg16_bn
    (125_485_056, 640): 125_485_760,  # resnet56
    (46_344_192, 10_240): 46_355_456,  # mobilenetv1
}


@dataclass(frozen=True, slots=True)
class GateCost:
    """What one gated convolution costs.

    filter_macs: output pixels x kernel area, the MACs of one filter on one input channel.
    previous: index of the gate whose active count is this layer's input width, None = full.
    """

    conv: str
    filter_macs: int
    in_channels: int
    out_channels: int
    groups: int
    previous: int | None
    narrowed: bool
    head_macs: int

    @property
    def dense_macs(self) -> int:
        """MACs with every filter on."""
        return self.filter_macs * self.out_channels * (self.in_channels // self.groups)


@dataclass(frozen=True, slots=True)
class MacCosts:
    """Everything needed to turn active filter counts into MACs, per image."""

    gates: tuple[GateCost, ...]
    ungated_conv_macs: int  # shortcut convolutions and excluded layers, always dense
    linear_macs: int  # without the heads

    @property
    def conv_macs(self) -> int:
        """MACs of all convolutions, dense."""
        return sum(gate.dense_macs for gate in self.gates) + self.ungated_conv_macs

    @property
    def head_macs(self) -> int:
        """MACs of all mask heads."""
        return sum(gate.head_macs for gate in self.gates)

    @property
    def reported_dense(self) -> int:
        """Denominator of the reported reduction: the paper's constant, else `conv_macs`."""
        return PAPER_DENSE.get((self.conv_macs, self.linear_macs), self.conv_macs)

    @property
    def strict_dense(self) -> int:
        """Denominator of the strict reduction: convolution and linear MACs of the dense net."""
        return self.conv_macs + self.linear_macs

    def reported(self, active: Tensor) -> Tensor:
        """The paper's MACs per gate, int64 (N, gates) -> int64 (N, gates).

        active x pixels x kernel x floor(previous active / groups). Optimistic on purpose: a
        residual sum counts as narrow as the branch before it, a depthwise layer is free as soon
        as one channel is off, heads and classifier are missing.
        """
        columns = [
            active[:, i] * gate.filter_macs * (self._width(i, active) // gate.groups)
            for i, gate in enumerate(self.gates)
        ]
        return torch.stack(columns, dim=1)

    def reported_total(self, active: Tensor) -> Tensor:
        """Reported MACs per image, int64 (N,). Convolutions without a gate count in full."""
        return self.reported(active).sum(1) + self.ungated_conv_macs

    def strict_total(self, active: Tensor) -> Tensor:
        """MACs per image that a perfect implementation needs, int64 (N, gates) -> int64 (N,).

        Inputs count as narrow only where masked zeros really arrive; depthwise filters cost one
        input channel each; heads, classifier and ungated convolutions are added.
        """
        total = torch.zeros_like(active[:, 0])
        for i, gate in enumerate(self.gates):
            if gate.groups == 1 and gate.narrowed:
                total += active[:, i] * gate.filter_macs * self._width(i, active)
            else:
                total += active[:, i] * gate.filter_macs * (gate.in_channels // gate.groups)
        return total + self.head_macs + self.linear_macs + self.ungated_conv_macs

    def _width(self, index: int, active: Tensor) -> Tensor:
        gate = self.gates[index]
        if gate.previous is None:
            return torch.full_like(active[:, index], gate.in_channels)
        return active[:, gate.previous]


@dataclass(frozen=True, slots=True)
class MeanMacs:
    """One count over the test images: the exact mean, and what the dense network costs."""

    mean: float
    dense: int

    @property
    def reduction_pct(self) -> float:
        """100 * (1 - mean / dense)."""
        return 100 * (1 - self.mean / self.dense)


@dataclass(frozen=True, slots=True)
class EffectiveMacs:
    """What `images` images cost on average, in both counts."""

    images: int
    reported: MeanMacs
    strict: MeanMacs
    head_macs: int
    kept_frac: dict[str, float]  # convolution -> mean share of filters kept

    @property
    def kept_filters_pct(self) -> float:
        """Filters kept, mean over layers."""
        return 100 * sum(self.kept_frac.values()) / len(self.kept_frac)


class MacTally:
    """Sums up active filter counts batch by batch, without leaving their device."""

    def __init__(self, costs: MacCosts) -> None:
        self.costs = costs
        self._reported: list[Tensor] = []
        self._strict: list[Tensor] = []
        self._active: list[Tensor] = []

    def update(self, active: Tensor) -> None:
        """Add a batch of active counts, int64 (N, gates), from `Gates.active()`."""
        self._reported.append(self.costs.reported_total(active))
        self._strict.append(self.costs.strict_total(active))
        self._active.append(active.sum(0))

    @property
    def reported(self) -> Tensor:
        """The paper's MACs of every image so far, int64 (N,) on the CPU."""
        return torch.cat(self._reported).cpu()

    @property
    def strict(self) -> Tensor:
        """The strict MACs of every image so far, int64 (N,) on the CPU."""
        return torch.cat(self._strict).cpu()

    def result(self) -> EffectiveMacs:
        """Means over every image so far. Raises ValueError without any."""
        if not self._reported:
            raise ValueError("no batch was counted yet; call update(gates.active()) after a pass")
        reported, strict = self.reported, self.strict
        active = torch.stack(self._active).sum(0).tolist()
        return EffectiveMacs(
            images=len(reported),
            reported=MeanMacs(int(reported.sum()) / len(reported), self.costs.reported_dense),
            strict=MeanMacs(int(strict.sum()) / len(strict), self.costs.strict_dense),
            head_macs=self.costs.head_macs,
            kept_frac={
                gate.conv: count / (len(reported) * gate.out_channels)
                for gate, count in zip(self.costs.gates, active, strict=True)
            },
        )


@dataclass(frozen=True, slots=True)
class ExpectedReduction:
    """What a threshold would save if the heads were perfect and the activations the dense ones."""

    mass: float
    reported_reduction_pct: float
    strict_reduction_pct: float
    kept_pct: float  # filters kept, mean over layers


def mac_costs(
    model: nn.Module,
    layers: Sequence[GatedLayer],
    image: Tensor,
    options: GateOptions | None = None,
) -> MacCosts:
    """Costs of `model` with `layers` gated, measured in one pass over `image` (1,C,H,W).

    Raises ValueError in training mode, where the pass would move batch statistics.
    """
    if model.training:
        raise ValueError("MACs are measured by a forward pass; call model.eval() first")
    options = options or GateOptions()
    convs, linear_macs = _measure(model, image)
    position = {layer.conv: i for i, layer in enumerate(layers)}
    gates = []
    for layer in layers:
        conv = model.get_submodule(layer.conv)
        assert isinstance(conv, nn.Conv2d)  # GatedLayer
        group_width = conv.in_channels // conv.groups
        gates.append(
            GateCost(
                conv=layer.conv,
                filter_macs=convs.pop(layer.conv) // (conv.out_channels * group_width),
                in_channels=conv.in_channels,
                out_channels=conv.out_channels,
                groups=conv.groups,
                previous=None if layer.previous is None else position[layer.previous],
                narrowed=layer.narrowed,
                head_macs=conv.in_channels
                * options.side(conv.in_channels) ** 2
                * conv.out_channels,
            )
        )
    return MacCosts(tuple(gates), sum(convs.values()), linear_macs)


def gated_costs(model: nn.Module, image: Tensor) -> MacCosts:
    """`mac_costs` of a model that has its gates. Raises ValueError if it has none."""
    gates = gates_of(model)
    return mac_costs(model, gates.layers, image, gates.options)


def expected_reduction(
    model: nn.Module,
    layers: Sequence[GatedLayer],
    batches: Iterable[Tensor],
    masses: Sequence[float],
    ground_truth: GroundTruth = "mass",
) -> list[ExpectedReduction]:
    """Reduction to expect per threshold, before any training.

    Applies the ground truth to the dense network's own activations over batches of images
    (N,C,H,W). Training moves the result: masked inputs change activations and heads err.
    Raises ValueError if the model is gated or training, or there are no images.
    """
    if CHILD in dict(model.named_children()):
        raise ValueError("the estimate needs the dense network; call detach_gates(model) first")
    chosen = uniform_mask if ground_truth == "uniform" else mass_mask
    tallies: list[MacTally] = []
    for images in batches:
        if not tallies:
            costs = mac_costs(model, layers, images[:1])
            tallies = [MacTally(costs) for _ in masses]
        strengths = _strengths(model, layers, images)
        for mass, tally in zip(masses, tallies, strict=True):
            tally.update(torch.stack([chosen(s, mass).sum(1) for s in strengths], dim=1))
    if not tallies:
        raise ValueError("no images or no thresholds were given, so there is nothing to estimate")
    found = []
    for mass, tally in zip(masses, tallies, strict=True):
        macs = tally.result()
        reductions = (macs.reported.reduction_pct, macs.strict.reduction_pct)
        found.append(ExpectedReduction(mass, *reductions, macs.kept_filters_pct))
    return found


def _measure(model: nn.Module, image: Tensor) -> tuple[dict[str, int], int]:
    """(MACs of each convolution by name, MACs of all linear layers but the heads)."""
    convs: dict[str, int] = {}
    linear = [0]
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            macs = module.weight[0].numel()

            def count_conv(
                _m: nn.Module, _i: object, out: Tensor, name: str = name, macs: int = macs
            ) -> None:
                convs[name] = convs.get(name, 0) + out.numel() * macs

            handles.append(module.register_forward_hook(count_conv))
        elif isinstance(module, nn.Linear) and not isinstance(module, Gate):
            width = module.in_features

            def count_linear(_m: nn.Module, _i: object, out: Tensor, width: int = width) -> None:
                linear[0] += out.numel() * width

            handles.append(module.register_forward_hook(count_linear))
    _run_and_unhook(model, image[:1], handles)
    return convs, linear[0]


def _strengths(model: nn.Module, layers: Sequence[GatedLayer], images: Tensor) -> list[Tensor]:
    """Filter strengths (N,F) of each layer's unmasked, activated output."""
    found: dict[str, Tensor] = {}
    handles = []
    for layer in layers:

        def record(_m: nn.Module, _i: object, out: Tensor, layer: GatedLayer = layer) -> None:
            found[layer.conv] = filter_strengths(activate(layer.act, out))

        handles.append(model.get_submodule(layer.output).register_forward_hook(record))
    _run_and_unhook(model, images, handles)
    return [found[layer.conv] for layer in layers]


def _run_and_unhook(model: nn.Module, images: Tensor, handles: list[RemovableHandle]) -> None:
    try:
        with torch.inference_mode():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
