"""Bit layouts of filter-pruning states: which bit switches which filter, scale or input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

Rule = Literal["ip", "ed06", "edh"]
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter tensor of a group. axis: the one its bits run along, None = never masked."""

    name: str
    shape: tuple[int, ...]
    axis: int | None

    @property
    def numel(self) -> int:
        """Number of elements."""
        return torch.Size(self.shape).numel()


@dataclass(frozen=True, slots=True)
class Group:
    """Bits [start, stop) of one layer.

    kind: "filters" = output channels of a convolution, "scale" = a batch norm with bits of its
    own (shortcut norm of rule ed06), "inputs" = input units of a linear or 1x1 classifier.
    """

    name: str
    kind: Literal["filters", "scale", "inputs"]
    start: int
    stop: int
    parameters: tuple[Parameter, ...]

    @property
    def width(self) -> int:
        """Number of bits."""
        return self.stop - self.start

    @property
    def masked(self) -> tuple[Parameter, ...]:
        """Parameters that the bits zero."""
        return tuple(p for p in self.parameters if p.axis is not None)

    @property
    def gates(self) -> tuple[Parameter, ...]:
        """The fewest parameters whose masking gives the output of masking all of `masked`.

        A masked norm scale hides what the convolution before it computes, so the large
        convolution weight need not be touched.
        """
        normed = any(p.name != f"{self.name}.weight" and len(p.shape) == 1 for p in self.masked[1:])
        own_bias = any(p.name == f"{self.name}.bias" for p in self.masked)
        return self.masked[1:] if normed and not own_bias else self.masked


@dataclass(frozen=True)
class FilterLayout:
    """Meaning of every bit of a state vector of length `size`.

    rule: "ip" (spec 1.1, class bits at the end), "ed06" or "edh". always_on: trailing bits that
    are always 1. total_parameters: all parameters of the network, masked or not.
    """

    rule: Rule
    size: int
    always_on: int
    total_parameters: int
    groups: tuple[Group, ...]

    def of_kind(self, kind: str) -> tuple[Group, ...]:
        """The groups of one kind, in bit order."""
        return tuple(group for group in self.groups if group.kind == kind)

    @cached_property
    def pairs(self) -> tuple[tuple[Group, Group], ...]:
        """(filter group, group after it in bit order): rows and columns of activity blocks."""
        following = zip(self.groups, self.groups[1:], strict=False)
        return tuple((group, after) for group, after in following if group.kind == "filters")

    def to_json(self) -> str:
        """The layout as one JSON document; `FilterLayout.from_json` is the inverse."""
        return json.dumps({"version": FORMAT_VERSION, **asdict(self)})

    @staticmethod
    def from_json(text: str) -> FilterLayout:
        """Inverse of to_json. Raises ValueError for another format version."""
        raw: dict[str, Any] = json.loads(text)
        if raw.pop("version", None) != FORMAT_VERSION:
            msg = f"state layout is not of version {FORMAT_VERSION}; another release wrote it"
            raise ValueError(msg)
        groups = []
        for group in raw.pop("groups"):
            parameters = [
                Parameter(p["name"], tuple(p["shape"]), p["axis"]) for p in group.pop("parameters")
            ]
            groups.append(Group(**group, parameters=tuple(parameters)))
        return FilterLayout(**raw, groups=tuple(groups))


def describe(model: nn.Module, rule: Rule = "ip") -> FilterLayout:
    """The bit layout of `model` under a rule of spec 1.1.

    Convolutions in registration order, then the inputs of every linear layer; the last layer may
    be a 1x1 convolution (SqueezeNet), whose inputs then count instead of its filters.
    Raises ValueError for networks the state vector cannot describe: grouped convolutions, batch
    norm that does not follow one convolution, other weighted layers, no convolution at all.
    """
    norms = _norm_after(model)
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    _refuse_undescribable(model, layers, norms)
    classifier = layers[-1][0]
    groups: list[Group] = []

    def add(name: str, kind: Any, width: int, parameters: list[Parameter]) -> None:
        start = groups[-1].stop if groups else 0
        groups.append(Group(name, kind, start, start + width, tuple(parameters)))

    for name, layer in layers:
        if isinstance(layer, nn.Linear) or name == classifier:
            width = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
            add(name, "inputs", width, list(_parameters(name, layer, _input_axis)))
            continue
        _add_filters(add, name, layer, norms.get(name), rule)
    classes = layers[-1][1].weight.shape[0]
    always_on = 0 if rule == "ed06" else int(classes)
    total = sum(p.numel() for p in model.parameters())
    return FilterLayout(rule, groups[-1].stop + always_on, always_on, total, tuple(groups))


def pack_bits(state: Tensor) -> Tensor:
    """Bits packed eight to a uint8, first bit highest, along the last axis; padded with zeros."""
    padding = -state.shape[-1] % 8
    bits = nn.functional.pad(state.to(torch.uint8), (0, padding)).unflatten(-1, (-1, 8))
    return (bits << _shifts(state.device)).sum(-1, dtype=torch.uint8)


def unpack_bits(packed: Tensor, size: int) -> Tensor:
    """Inverse of pack_bits: uint8 zeros and ones of length `size` along the last axis.

    Raises ValueError if `packed` holds another number of bytes than `size` bits need.
    """
    if packed.shape[-1] != (size + 7) // 8:
        msg = f"{packed.shape[-1]} bytes of packed bits cannot hold {size} bits; wrong layout?"
        raise ValueError(msg)
    return ((packed.unsqueeze(-1) >> _shifts(packed.device)) & 1).flatten(-2)[..., :size]


def mask_view(bits: Tensor, group: Group, parameter: Parameter) -> Tensor:
    """The group's slice of `bits` (D,), viewed so that it broadcasts against the parameter."""
    shape = [1] * len(parameter.shape)
    shape[parameter.axis or 0] = group.width
    return bits[group.start : group.stop].view(shape)


@torch.no_grad()
def apply_state_(model: nn.Module, layout: FilterLayout, state: Tensor) -> None:
    """Multiply every masked parameter of `model` by its bits, in place (spec 2.1)."""
    parameters = dict(model.named_parameters())
    for group in layout.groups:
        for entry in group.masked:
            tensor = parameters[entry.name]
            tensor.mul_(mask_view(state.to(tensor.device, tensor.dtype), group, entry))


def kept_coefficients(layout: FilterLayout, device: torch.device | None = None) -> Tensor:
    """float64 (D,) weights c with `states @ c` = the published kept ratio (spec 2.2, rule IP).

    Every tensor of a group counts with the group's fraction of ones, norm vectors and the
    classifier's bias included; input channels that die with a filter are not counted.
    """
    weights = torch.zeros(layout.size, dtype=torch.float64)
    for group in layout.groups:
        numel = sum(p.numel for p in group.parameters)
        weights[group.start : group.stop] = numel / group.width / layout.total_parameters
    return weights.to(device)


def kept_ratio(layout: FilterLayout, states: Tensor) -> Tensor:
    """float64 kept ratio R in 0..1 of each state (..., D), by the rule of IPruning (spec 2.2)."""
    return states.double() @ kept_coefficients(layout, states.device)


def counted_by_edropout(layout: FilterLayout, state: Tensor) -> dict[str, float]:
    """What EDropout's own counters report for one state (D,): kept, total and ratio (spec 2.2).

    Keys: total, kept_conv, total_conv, kept_fc, total_fc, ratio. Rule "ed06" counts a filter as
    k*k*C_in + 1 and a shortcut norm as one vector; "edh" counts k*k, which is no parameter count.
    Raises ValueError for a layout of another rule.
    """
    if layout.rule not in ("ed06", "edh"):
        msg = f"layout rule {layout.rule!r} has no EDropout counter; use kept_ratio for rule 'ip'"
        raise ValueError(msg)
    kept, total = {"conv": 0, "fc": 0}, {"conv": 0, "fc": 0}
    for group in layout.groups:
        shape = group.parameters[0].shape
        if group.kind == "inputs":
            unit, field = shape[0], "fc"
        elif group.kind == "scale":
            unit, field = 1, "conv"
        else:
            area = shape[2] * shape[3]
            unit, field = area * shape[1] + 1 if layout.rule == "ed06" else area, "conv"
        kept[field] += unit * int(state[group.start : group.stop].sum())
        total[field] += unit * group.width
    everything = total["conv"] + total["fc"]
    bias = shape[0] if layout.rule == "ed06" else 0  # reported, but outside the ratio
    return {
        "total": everything + bias,
        "kept_conv": kept["conv"],
        "total_conv": total["conv"],
        "kept_fc": kept["fc"],
        "total_fc": total["fc"],
        "ratio": (kept["conv"] + kept["fc"]) / everything,
    }


def _shifts(device: torch.device) -> Tensor:
    return torch.arange(7, -1, -1, dtype=torch.uint8, device=device)


def _input_axis(parameter: str) -> int | None:
    return 1 if parameter == "weight" else None


def _row_axis(parameter: str) -> int | None:
    return 0


def _scale_axis(parameter: str) -> int | None:
    return 0 if parameter == "weight" else None


def _unmasked(parameter: str) -> int | None:
    return None


def _parameters(
    name: str, module: nn.Module, axis_of: Callable[[str], int | None]
) -> Iterator[Parameter]:
    for key, tensor in module.named_parameters(recurse=False):
        yield Parameter(f"{name}.{key}", tuple(tensor.shape), axis_of(key))


def _add_filters(
    add: Callable[..., None],
    name: str,
    conv: nn.Conv2d,
    norm: tuple[str, nn.Module] | None,
    rule: Rule,
) -> None:
    """Append the group (rule ed06 on a shortcut: two groups) of one convolution's filters."""
    if rule == "edh" and not name.endswith("conv2"):
        return
    own = list(_parameters(name, conv, _row_axis))
    if norm is None:
        add(name, "filters", conv.out_channels, own)
    elif rule != "ed06":
        own += _parameters(*norm, _row_axis)
        add(name, "filters", conv.out_channels, own)
    elif name.rpartition(".")[0].endswith("downsample"):
        add(name, "filters", conv.out_channels, own)
        shortcut_norm = list(_parameters(*norm, _scale_axis))
        add(norm[0], "scale", conv.out_channels, shortcut_norm)
    else:
        axis_of = _unmasked if norm[0].endswith("bn3") else _scale_axis
        own += _parameters(*norm, axis_of)
        add(name, "filters", conv.out_channels, own)


def _norm_after(model: nn.Module) -> dict[str, tuple[str, nn.Module]]:
    """Convolution name -> (name, module) of its batch norm, found by the usual names.

    `convN` goes with the sibling `bnN`; in a Sequential the norm is the next module.
    """
    modules = dict(model.named_modules())
    found: dict[str, tuple[str, nn.Module]] = {}
    for name, module in modules.items():
        if not isinstance(module, nn.Conv2d):
            continue
        parent, _, leaf = name.rpartition(".")
        after = str(int(leaf) + 1) if leaf.isdigit() else leaf.replace("conv", "bn")
        candidate = f"{parent}.{after}" if parent else after
        norm = modules.get(candidate)
        if isinstance(norm, nn.BatchNorm2d) and norm.num_features == module.out_channels:
            found[name] = (candidate, norm)
    return found


def _refuse_undescribable(
    model: nn.Module,
    layers: Sequence[tuple[str, nn.Module]],
    norms: dict[str, tuple[str, nn.Module]],
) -> None:
    reason = ""
    described = {name for name, _ in layers} | {name for name, _ in norms.values()}
    if not any(isinstance(layer, nn.Conv2d) for _, layer in layers):
        reason = "it has no Conv2d layer"
    for name, module in model.named_modules():
        if name not in described and any(True for _ in module.parameters(recurse=False)):
            reason = f"{name or 'the model'} ({type(module).__name__}) has weights of its own"
        elif isinstance(module, nn.Conv2d) and module.groups != 1:
            reason = f"{name} is a grouped convolution"
        elif isinstance(module, nn.BatchNorm2d) and not module.affine:
            reason = f"{name} is a batch norm without scale and bias"
    last = layers[-1][1] if layers else None
    if isinstance(last, nn.Conv2d) and last.kernel_size != (1, 1):
        reason = f"its last layer {layers[-1][0]} is a {last.kernel_size} convolution"
    if reason:
        msg = (
            f"{type(model).__name__} cannot be described by filter bits: {reason}. "
            "Use a network of Conv2d, each followed by at most one BatchNorm2d, and Linear layers "
            "(ResNet, VGG, AlexNet, SqueezeNet)."
        )
        raise ValueError(msg)
