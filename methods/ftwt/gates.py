"""FTWT's gates: ground-truth masks, mask heads, and their hooks on a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from methods.attached_modules import AttachedModule
from methods.data_parallel import world_size
from methods.ftwt.layers import GatedLayer, activate

GroundTruth = Literal["mass", "uniform"]
TOLERANCE = 1e-5  # the official code's slack in every comparison of the ground truth
CHILD = "ftwt"  # the gates hang below the model under this name


def filter_strengths(features: Tensor) -> Tensor:
    """Largest absolute value per sample and filter: (N,F,...) -> float (N,F).

    Half-precision input is measured in float32. Raises ValueError below two dimensions.
    """
    if features.dim() < 2:
        msg = (
            f"features must be (N, F, ...), got shape {tuple(features.shape)}; "
            "for a single sample add a batch dimension with features[None]"
        )
        raise ValueError(msg)
    if features.dtype not in (torch.float32, torch.float64):
        features = features.float()
    return features.abs().flatten(2).amax(2) if features.dim() > 2 else features.abs()


def mass_mask(strengths: Tensor, mass: float) -> Tensor:
    """Filters that together hold at most `mass` of each sample's total: (N,F) -> bool (N,F).

    strengths: non-negative, from `filter_strengths`. The filter that makes the cumulative share
    cross `mass` is dropped too, so a sample with one dominant filter keeps none. mass == 1 drops
    filters with a share <= 1e-5; mass < 0 keeps all. A sample of zeros keeps all (0/0 compares
    false). Ties are broken by position. Section 1.2 of the method's specification.
    """
    if mass < 0:
        return torch.ones_like(strengths, dtype=torch.bool)
    share = strengths / strengths.sum(1, keepdim=True)
    if mass == 1:
        return ~(share <= TOLERANCE)
    ordered, order = share.sort(dim=1, descending=True, stable=True)
    kept = ~(ordered.cumsum(1) - mass > TOLERANCE)
    return torch.empty_like(kept).scatter_(1, order, kept)


def uniform_mask(strengths: Tensor, ratio: float) -> Tensor:
    """All but the int(ratio * F) weakest filters of each sample: (N,F) -> bool (N,F).

    Filters at or below 1e-5 are dropped as well. ratio is the share *pruned*; negative keeps all.
    Deviation: int(ratio * F) == 0 crashes the official code; here only the 1e-5 rule applies.
    """
    if ratio < 0:
        return torch.ones_like(strengths, dtype=torch.bool)
    kept = strengths > TOLERANCE
    weakest = strengths.sort(dim=1, stable=True).indices[:, : int(ratio * strengths.shape[1])]
    return kept.scatter_(1, weakest, False)


def ground_truth_mask(features: Tensor, mass: float) -> Tensor:
    """Filters worth computing, True = keep: (N,F) bool from a layer's activations (N,F,...).

    mass: share of the summed channel maxima to keep, see `mass_mask` for its edge cases.
    """
    return mass_mask(filter_strengths(features), mass)


@dataclass(frozen=True, slots=True)
class GateOptions:
    """How gates see, decide and learn. Defaults are the official code's."""

    mass: float = 0.9  # r; share pruned if ground_truth is "uniform"
    ground_truth: GroundTruth = "mass"
    mode: Literal["decoupled", "joint"] = "decoupled"  # joint: mask loss reaches the backbone
    head_pool: Literal["avg", "max"] = "avg"  # max: figure 3 of the paper
    softmax: bool = True
    embedding: int = -1  # wanted length of the pooled input; -1 = one value per channel

    def side(self, channels: int) -> int:
        """Side of the pooled map. Raises ValueError if the embedding is too short for it."""
        if self.embedding < 0:
            return 1
        side = round((self.embedding / channels) ** 0.5)
        if side == 0:
            msg = (
                f"embedding={self.embedding} leaves no pixel for {channels} input channels; "
                f"use -1 or at least {channels}"
            )
            raise ValueError(msg)
        return side


class Gate(nn.Linear):
    """The head of one layer and what it decided in the last forward pass.

    logits, keep (bool, > 0) and truth (bool, None when not computed) are (N,F).
    """

    logits: Tensor | None = None
    keep: Tensor | None = None
    truth: Tensor | None = None

    def __init__(self, layer: GatedLayer, conv: nn.Conv2d, options: GateOptions) -> None:
        side = options.side(conv.in_channels)
        super().__init__(
            conv.in_channels * side**2,
            conv.out_channels,
            device=conv.weight.device,
            dtype=conv.weight.dtype,
        )
        self.side = side
        self.layer = layer
        self.options = options
        self.enabled = True
        self.always_truth = False

    def reset_parameters(self) -> None:
        """Nothing: the base class would draw from global state, `reset` does not."""

    def reset(self, generator: torch.Generator) -> None:
        """Draw weight and bias from U(-b, b), b = 1/sqrt(inputs); generator on the CPU."""
        bound = self.in_features**-0.5
        with torch.no_grad():
            for parameter in (self.weight, self.bias):
                drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
                parameter.copy_(drawn)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N,F) for a layer input (N,C,H,W)."""
        if self.options.head_pool == "max":
            pooled = F.adaptive_max_pool2d(features, self.side)
        else:
            pooled = F.adaptive_avg_pool2d(features, self.side)
        return self.from_pooled(pooled.flatten(1))

    def from_pooled(self, pooled: Tensor) -> Tensor:
        """Logits (N,F) for the pooled input (N, C*side*side), channel-major."""
        if self.options.softmax:
            pooled = pooled.softmax(1)
        return super().forward(pooled)

    def ground_truth(self, strengths: Tensor) -> Tensor:
        """The mask this gate learns, bool (N,F), from filter strengths (N,F)."""
        chosen = uniform_mask if self.options.ground_truth == "uniform" else mass_mask
        return chosen(strengths, self.options.mass)

    def look(self, conv: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Decide from the input of `conv`; a forward pre-hook."""
        if not self.enabled:
            return
        (features,) = inputs
        self.logits = self(features if self.options.mode == "joint" else features.detach())
        self.keep = self.logits > 0  # sigmoid > 0.5
        self.truth = None

    def mask(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        """`output` with the filters zeroed that were decided against; a forward hook."""
        if not self.enabled or self.keep is None:
            return None
        if self.training or self.always_truth:
            with torch.no_grad():
                self.truth = self.ground_truth(filter_strengths(activate(self.layer.act, output)))
        return output * self.keep.to(output.dtype)[:, :, None, None]

    def forget(self) -> None:
        """Drop what the last forward pass left behind, and the graph it holds."""
        self.logits = self.keep = self.truth = None

    def __getstate__(self) -> dict[str, Any]:
        # A logit is no leaf of the graph, so it can be neither copied nor pickled.
        return {k: v for k, v in super().__getstate__().items() if k not in _RECORDS}


_RECORDS = ("logits", "keep", "truth")


class Gates(nn.ModuleList, AttachedModule):
    """All gates of a network in execution order; at least one. Iterates over `Gate`."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        super().__init__(gates)
        self.handles: list[RemovableHandle] = []

    def __iter__(self) -> Iterator[Gate]:
        return cast("Iterator[Gate]", super().__iter__())

    def forward(self, features: Tensor) -> Tensor:
        """`features` as they are: a Sequential runs every child, this one too."""
        return features

    @property
    def layers(self) -> tuple[GatedLayer, ...]:
        """Descriptions of the gated layers."""
        return tuple(gate.layer for gate in self)

    @property
    def options(self) -> GateOptions:
        """The options that all gates share."""
        return next(iter(self)).options

    def active(self) -> Tensor:
        """Filters kept in the last forward pass, int64 (N, gates)."""
        return torch.stack([_seen(gate.keep).sum(1) for gate in self], dim=1)

    def loss(self) -> Tensor:
        """Mask loss of the last forward pass, a scalar: eq. in section 1.3 with weight 1.

        Binary cross entropy, averaged over samples, summed over filters, averaged over gates.
        Raises RuntimeError if that pass computed no ground truth.
        """
        losses = [
            F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="sum")
            / logits.shape[0]
            for logits, truth in ((_seen(g.logits), _seen(g.truth)) for g in self)
        ]
        return torch.stack(losses).mean()

    def tie(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        """`output`, through which training in several processes finds the heads; a forward hook.

        Decisions have no gradient, so only the mask loss leads to the heads, and that comes after
        the forward pass, at whose end DistributedDataParallel looks for what takes part.
        """
        if not self.training or world_size() == 1 or not self.enabled:
            return None
        return output + 0.0 * sum(_seen(gate.logits).sum() for gate in self)

    @property
    def enabled(self) -> bool:
        """Whether any gate masks."""
        return any(gate.enabled for gate in self)

    def set_enabled(self, enabled: bool) -> None:
        """Switch masking on, or off for the dense network."""
        for gate in self:
            gate.enabled = enabled
            gate.forget()

    def set_truth(self, always: bool) -> None:
        """Compute the ground truth in evaluation too, or only in training."""
        for gate in self:
            gate.always_truth = always

    def forget(self) -> None:
        """Drop what the last forward pass left in every gate."""
        for gate in self:
            gate.forget()


def attach_gates(
    model: nn.Module,
    layers: Sequence[GatedLayer],
    options: GateOptions,
    generator: torch.Generator,
) -> Gates:
    """Gates hooked onto `model` and registered as its child `ftwt`, heads drawn from `generator`.

    Raises ValueError if the model already has gates or a description names a wrong layer.
    """
    if CHILD in dict(model.named_children()):
        msg = f"{type(model).__name__} already has a child {CHILD!r}; call detach_gates first"
        raise ValueError(msg)
    named = dict(model.named_modules())
    for layer in layers:
        _check(layer, named)
    made = []
    for layer in layers:
        conv = named[layer.conv]
        assert isinstance(conv, nn.Conv2d)  # _check
        gate = Gate(layer, conv, options)
        gate.reset(generator)
        made.append(gate)
    gates = Gates(made)
    for gate in made:
        gates.handles.append(named[gate.layer.conv].register_forward_pre_hook(gate.look))
        gates.handles.append(named[gate.layer.output].register_forward_hook(gate.mask))
    gates.handles.append(model.register_forward_hook(gates.tie))
    gates.train(model.training)
    model.add_module(CHILD, gates)
    return gates


def gates_of(model: nn.Module) -> Gates:
    """The gates of a gated model. Raises ValueError if it has none."""
    gates = dict(model.named_children()).get(CHILD)
    if not isinstance(gates, Gates):
        msg = f"{type(model).__name__} has no gates; attach them with FTWT.attach or attach_gates"
        raise ValueError(msg)
    return gates


def detach_gates(model: nn.Module) -> Gates:
    """The gates, unhooked and taken off `model`, which is dense afterwards."""
    gates = gates_of(model)
    for handle in gates.handles:
        handle.remove()
    gates.handles.clear()
    delattr(model, CHILD)
    return gates


def _check(layer: GatedLayer, named: dict[str, nn.Module]) -> None:
    for name in (layer.conv, layer.output):
        if name not in named:
            raise ValueError(f"gated layer {layer}: the model has no module {name!r}")
    if not isinstance(named[layer.conv], nn.Conv2d):
        kind = type(named[layer.conv]).__name__
        raise ValueError(f"gated layer {layer.conv!r} is a {kind}; gates need a Conv2d")


def _seen(record: Tensor | None) -> Tensor:
    if record is None:
        msg = (
            "the last forward pass left no masks or no ground truth; run the gated model first, "
            "in training mode or after set_truth(True)"
        )
        raise RuntimeError(msg)
    return record
