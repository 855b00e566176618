"""Physically smaller ResNets: filters that a state turns off and their inputs are removed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from methods.ipruning.filter_layout import FilterLayout, Group
from methods.ipruning.residual_channels import ChannelPlan, Skeleton, channel_plan, skeleton_of

FORMAT_VERSION = 1


class ShrunkBlock(nn.Module):
    """A residual block whose two paths may carry different channels of its output.

    main_index, shortcut_index: int64, where each path's channels go in the output.
    """

    main_index: Tensor
    shortcut_index: Tensor

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        self.width: int = spec["width"]
        self.depth = len(spec["convs"])
        for place, conv in enumerate(spec["convs"], start=1):
            self.add_module(f"conv{place}", _conv(conv))
            self.add_module(f"bn{place}", nn.BatchNorm2d(conv["out"], conv["eps"]))
        self.downsample: nn.Sequential | None = None
        if spec["shortcut"] is not None:
            norm = nn.BatchNorm2d(spec["shortcut"]["out"], spec["shortcut"]["eps"])
            self.downsample = nn.Sequential(_conv(spec["shortcut"]), norm)
        self.register_buffer("main_index", torch.zeros(spec["convs"][-1]["out"], dtype=torch.int64))
        self.register_buffer("shortcut_index", torch.zeros(spec["carried"], dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        """(N,C,H,W) features -> (N,width,H',W') features."""
        main = images
        for place in range(1, self.depth + 1):
            main = self.get_submodule(f"bn{place}")(self.get_submodule(f"conv{place}")(main))
            if place < self.depth:
                main = main.relu_()
        carried = images if self.downsample is None else self.downsample(images)
        if main.shape[1] == carried.shape[1] == self.width:
            return (main + carried).relu_()
        out = main.new_zeros(main.shape[0], self.width, *main.shape[2:])
        out = out.index_copy(1, self.shortcut_index, carried)
        return out.index_add(1, self.main_index, main).relu_()


class ShrunkResNet(nn.Module):
    """A plain ResNet with fewer channels, built from a description by `rebuild` or `shrink`.

    Keys are the original's plus the index buffers. feature_index: features the head reads.
    """

    feature_index: Tensor

    def __init__(self, description: Mapping[str, Any]) -> None:
        super().__init__()
        self.description = dict(description)
        stem, head = description["stem"], description["head"]
        self.conv1 = _conv(stem)
        self.bn1 = nn.BatchNorm2d(stem["out"], stem["eps"])
        pool = description["pool"]
        self.maxpool = nn.Identity() if pool is None else nn.MaxPool2d(*pool)
        self.stages = list(description["stages"])
        for stage, blocks in description["stages"].items():
            self.add_module(stage, nn.Sequential(*(ShrunkBlock(block) for block in blocks)))
        self.head = head["name"]
        self.add_module(self.head, nn.Linear(head["in"], head["out"]))
        self.register_buffer("feature_index", torch.zeros(head["in"], dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        """(N,C,H,W) images -> (N,K) logits."""
        features = self.maxpool(self.bn1(self.conv1(images)).relu_())
        for stage in self.stages:
            features = self.get_submodule(stage)(features)
        pooled = features.mean((2, 3)).index_select(1, self.feature_index)
        logits: Tensor = self.get_submodule(self.head)(pooled)
        return logits


@torch.no_grad()
def shrink(model: nn.Module, layout: FilterLayout, state: Tensor) -> ShrunkResNet:
    """A smaller network whose output equals that of `model` with `state` applied (rule "ip").

    model: the unmasked or the masked ResNet; it is not changed. state: (D,). In evaluation mode
    and in training mode alike, up to the order of summation.
    Raises ValueError for layouts whose masks leave constants behind (ed06) and for networks
    other than torchvision-keyed ResNets.
    """
    if layout.rule != "ip":
        msg = (
            f"layout rule {layout.rule!r} leaves batch-norm biases of dead filters on, so they "
            "cannot be removed exactly; search with layout 'ip' to shrink"
        )
        raise ValueError(msg)
    skeleton = skeleton_of(model)
    groups = {group.name: group for group in layout.groups}
    plan = channel_plan(skeleton, groups, state, shared_streams=False)
    features = len(_read_features(groups[skeleton.classifier], plan, state))
    small = ShrunkResNet(_describe(model, skeleton, plan, features))
    small.to(state.device, next(model.parameters()).dtype)
    small.load_state_dict(dict(_cut_weights(model, skeleton, groups, plan, state)))
    return small.train(model.training)


def save(model: ShrunkResNet) -> tuple[dict[str, Tensor], str]:
    """(state dict, JSON description) of a shrunk network; `rebuild` is the inverse."""
    return model.state_dict(), json.dumps({"version": FORMAT_VERSION, **model.description})


def rebuild(description: str, weights: Mapping[str, Tensor]) -> ShrunkResNet:
    """The shrunk network stored by `save`, loaded strictly, in evaluation mode.

    Raises ValueError for another format version.
    """
    raw = json.loads(description)
    if raw.pop("version", None) != FORMAT_VERSION:
        msg = f"shrunk-network description is not of version {FORMAT_VERSION}; shrink it again"
        raise ValueError(msg)
    model = ShrunkResNet(raw)
    model.load_state_dict(dict(weights))
    return model.eval()


def _cut_weights(
    model: nn.Module,
    skeleton: Skeleton,
    groups: Mapping[str, Group],
    plan: ChannelPlan,
    state: Tensor,
) -> Iterator[tuple[str, Tensor]]:
    weights = model.state_dict()
    for conv, cut in plan.convs.items():
        yield f"{conv}.weight", weights[f"{conv}.weight"][cut.rows[:, None], cut.columns]
        norm = skeleton.norms[conv]
        on = state[groups[conv].start : groups[conv].stop][cut.rows]
        for key in ("weight", "bias"):
            yield f"{norm}.{key}", weights[f"{norm}.{key}"][cut.rows] * on
        for key in ("running_mean", "running_var"):
            yield f"{norm}.{key}", weights[f"{norm}.{key}"][cut.rows]
        yield f"{norm}.num_batches_tracked", weights[f"{norm}.num_batches_tracked"]
    arriving = plan.convs[skeleton.stem].rows
    for block, alive in zip(skeleton.blocks, plan.blocks, strict=True):
        carried = plan.convs[block.shortcut].rows if block.shortcut else arriving
        main = plan.convs[block.convs[-1]].rows
        yield f"{block.name}.main_index", torch.searchsorted(alive, main)
        yield f"{block.name}.shortcut_index", torch.searchsorted(alive, carried)
        arriving = alive
    head = groups[skeleton.classifier]
    read = _read_features(head, plan, state)
    columns = plan.stream[read]
    on = state[head.start : head.stop][columns]
    yield f"{head.name}.weight", weights[f"{head.name}.weight"][:, columns] * on
    yield f"{head.name}.bias", weights[f"{head.name}.bias"]
    yield "feature_index", read


def _read_features(head: Group, plan: ChannelPlan, state: Tensor) -> Tensor:
    """Positions in the last stream that the head reads; the first if it reads none."""
    on = state[head.start : head.stop][plan.stream] != 0
    on[0] |= ~on.any()
    return on.nonzero().squeeze(1)


def _describe(
    model: nn.Module, skeleton: Skeleton, plan: ChannelPlan, features: int
) -> dict[str, Any]:
    modules = dict(model.named_modules())

    def conv_spec(name: str) -> dict[str, Any]:
        conv, cut = modules[name], plan.convs[name]
        return {
            "in": len(cut.columns),
            "out": len(cut.rows),
            "kernel": list(conv.kernel_size),
            "stride": list(conv.stride),
            "padding": list(conv.padding),
            "eps": modules[skeleton.norms[name]].eps,
        }

    stages: dict[str, list[dict[str, Any]]] = {}
    carried = len(plan.convs[skeleton.stem].rows)
    for block, alive in zip(skeleton.blocks, plan.blocks, strict=True):
        shortcut = conv_spec(block.shortcut) if block.shortcut else None
        spec = {
            "width": len(alive),
            "carried": shortcut["out"] if shortcut else carried,
            "convs": [conv_spec(conv) for conv in block.convs],
            "shortcut": shortcut,
        }
        stages.setdefault(block.name.partition(".")[0], []).append(spec)
        carried = len(alive)
    pool = modules.get("maxpool")
    head = modules[skeleton.classifier]
    return {
        "stem": conv_spec(skeleton.stem),
        "pool": [pool.kernel_size, pool.stride, pool.padding]
        if isinstance(pool, nn.MaxPool2d)
        else None,
        "stages": stages,
        "head": {"name": skeleton.classifier, "in": features, "out": head.out_features},
    }


def _conv(spec: Mapping[str, Any]) -> nn.Conv2d:
    kernel, stride, padding = (tuple(spec[key]) for key in ("kernel", "stride", "padding"))
    return nn.Conv2d(spec["in"], spec["out"], kernel, stride, padding, bias=False)
