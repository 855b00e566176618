"""Which channels of a ResNet stay alive under a filter state, and what they cost."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from methods.ipruning.channel_blocks import whole_blocks
from methods.ipruning.filter_layout import FilterLayout, Group

PASSIVE = (nn.ReLU, nn.Identity, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten)


@dataclass(frozen=True, slots=True)
class Block:
    """A residual block: its convolutions in order and its shortcut convolution, if it has one."""

    name: str
    convs: tuple[str, ...]
    shortcut: str | None


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Wiring of a ResNet with torchvision's names. norms: convolution -> batch norm after it."""

    stem: str
    blocks: tuple[Block, ...]
    classifier: str
    norms: dict[str, str]


@dataclass(frozen=True, slots=True)
class ChannelCut:
    """Channels of a convolution that stay: int64 indices of output rows and input columns."""

    rows: Tensor
    columns: Tensor


@dataclass(frozen=True, slots=True)
class ChannelPlan:
    """What stays of every convolution, of every block's output, and of the last features.

    blocks: per block, alive output channels. stream: channels that reach the classifier.
    """

    convs: dict[str, ChannelCut]
    blocks: list[Tensor] = field(default_factory=list)
    stream: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))


def skeleton_of(model: nn.Module) -> Skeleton:
    """The wiring of a torchvision-keyed ResNet of basic or bottleneck blocks.

    Raises ValueError for any network whose forward pass the names do not determine.
    """
    stages = [(n, m) for n, m in model.named_children() if isinstance(m, nn.Sequential)]
    heads = [n for n, m in model.named_children() if isinstance(m, nn.Linear)]
    named = {"conv1", "bn1", *heads, *(n for n, _ in stages)}
    strange = [
        n for n, m in model.named_children() if n not in named and not isinstance(m, PASSIVE)
    ]
    if strange or len(heads) != 1 or not stages or not hasattr(model, "conv1"):
        _refuse(model, f"unexpected part {strange[0]!r}" if strange else "no stem, stages and head")
    norms = {"conv1": "bn1"}
    blocks = []
    for stage, members in stages:
        for index, member in members.named_children():
            block = _read_block(model, f"{stage}.{index}", member)
            norms |= {conv: _norm_name(conv) for conv in block.convs}
            if block.shortcut:
                norms[block.shortcut] = _norm_name(block.shortcut)
            blocks.append(block)
    return Skeleton("conv1", tuple(blocks), heads[0], norms)


def channel_plan(
    skeleton: Skeleton, groups: Mapping[str, Group], state: Tensor, *, shared_streams: bool
) -> ChannelPlan:
    """Which channels stay under `state` (D,), a layout of rule "ip" (spec 2.3).

    A block's output channel is alive if the last convolution's bit or the shortcut is. With
    `shared_streams` all blocks between two shape changes carry the channels alive at the end of
    that stretch, and channels that are off fill whole blocks. A layer without any kept channel
    keeps its first. The scale of what is off is zero anyway.
    """
    on = {n: state[g.start : g.stop] != 0 for n, g in groups.items() if n in skeleton.norms}
    for bits in on.values():
        bits[0] |= ~bits.any()
    fill = whole_blocks if shared_streams else torch.clone
    on = {n: fill(bits) for n, bits in on.items()}
    alive = [on[skeleton.stem]]
    for block in skeleton.blocks:
        alive.append(on[block.convs[-1]] | (on[block.shortcut] if block.shortcut else alive[-1]))
    if shared_streams:
        for place in range(len(skeleton.blocks) - 1, -1, -1):
            if skeleton.blocks[place].shortcut is None:
                alive[place] = alive[place + 1]
    alive = [fill(bits) for bits in alive]
    index = [_indices(bits) for bits in alive]
    image = torch.arange(groups[skeleton.stem].parameters[0].shape[1], device=state.device)
    convs = {skeleton.stem: ChannelCut(index[0], image)}
    for place, block in enumerate(skeleton.blocks):
        columns = index[place]
        for conv in block.convs:
            last = conv == block.convs[-1]
            rows = index[place + 1] if shared_streams and last else _indices(on[conv])
            convs[conv] = ChannelCut(rows, columns)
            columns = rows
        if block.shortcut:
            rows = index[place + 1] if shared_streams else _indices(on[block.shortcut])
            convs[block.shortcut] = ChannelCut(rows, index[place])
    return ChannelPlan(convs, index[1:], index[-1])


def structural_counts(
    model: nn.Module, layout: FilterLayout, state: Tensor, image_size: tuple[int, int] = (32, 32)
) -> dict[str, dict[str, int]]:
    """Integer parameters and MACs under `state`: "dense", "rows_only" and "structural" (spec 2.3).

    "rows_only" removes output filters and classifier inputs; "structural" also what only dead
    channels fed. MACs: convolutions and linear layers, one image. Needs a torchvision-keyed
    ResNet; nothing is computed, the shapes come from a pass on the meta device.
    """
    skeleton = skeleton_of(model)
    groups = {group.name: group for group in layout.groups}
    bits = state.cpu()
    plan = channel_plan(skeleton, groups, bits, shared_streams=False)
    areas = _output_areas(model, image_size)
    counts = {kind: {"params": 0, "macs": 0} for kind in ("dense", "rows_only", "structural")}
    for conv, cut in plan.convs.items():
        out, width, *kernel = groups[conv].parameters[0].shape
        rows = int(bits[groups[conv].start : groups[conv].stop].sum())
        sizes = {"dense": (out, width), "rows_only": (rows, width)}
        sizes["structural"] = (rows, len(cut.columns))
        for kind, (kept_out, kept_in) in sizes.items():
            weights = kept_out * kept_in * kernel[0] * kernel[1]
            counts[kind]["params"] += weights + 2 * kept_out
            counts[kind]["macs"] += weights * areas[conv]
    head = groups[skeleton.classifier]
    classes, width = head.parameters[0].shape
    on = bits[head.start : head.stop] != 0
    inputs = {"dense": width, "rows_only": int(on.sum())}
    inputs["structural"] = int(on[plan.stream].sum())
    for kind, kept_in in inputs.items():
        counts[kind]["params"] += classes * kept_in + classes
        counts[kind]["macs"] += classes * kept_in
    return counts


def _output_areas(model: nn.Module, image_size: tuple[int, int]) -> dict[str, int]:
    """Output pixels of every convolution for one image."""
    shadow = copy.deepcopy(model).to("meta").eval()
    areas: dict[str, int] = {}
    convs = {n: m for n, m in shadow.named_modules() if isinstance(m, nn.Conv2d)}
    for name, conv in convs.items():
        conv.register_forward_hook(
            lambda module, args, output, name=name: areas.__setitem__(name, output[0, 0].numel())
        )
    shadow(torch.empty(1, convs["conv1"].in_channels, *image_size, device="meta"))
    return areas


def _indices(bits: Tensor) -> Tensor:
    return bits.nonzero().squeeze(1)


def _norm_name(conv: str) -> str:
    parent, _, leaf = conv.rpartition(".")
    after = "1" if leaf == "0" else leaf.replace("conv", "bn")
    return f"{parent}.{after}" if parent else after


def _read_block(model: nn.Module, name: str, block: nn.Module) -> Block:
    parts = dict(block.named_children())
    convs = tuple(n for n in ("conv1", "conv2", "conv3") if n in parts)
    expected = {*convs, *(n.replace("conv", "bn") for n in convs), "downsample"}
    strange = [n for n, m in parts.items() if n not in expected and not isinstance(m, PASSIVE)]
    if strange or len(convs) < 2:
        _refuse(model, f"{name} is no basic or bottleneck block")
    shortcut = parts.get("downsample")
    first, last = parts[convs[0]], parts[convs[-1]]
    if shortcut is None:
        strides = {parts[n].stride for n in convs}
        if strides != {(1, 1)} or first.in_channels != last.out_channels:
            _refuse(model, f"{name} changes shape without a shortcut convolution")
    elif not isinstance(shortcut, nn.Sequential) or len(shortcut) != 2:
        _refuse(model, f"{name}.downsample is not a convolution and a batch norm")
    full = tuple(f"{name}.{n}" for n in convs)
    return Block(name, full, f"{name}.downsample.0" if shortcut is not None else None)


def _refuse(model: nn.Module, reason: str) -> None:
    msg = (
        f"{type(model).__name__} is not a torchvision-keyed ResNet: {reason}. "
        "Its masks work, but it cannot be cut; use resnet{18,34,50,101} or the masked network."
    )
    raise ValueError(msg)
