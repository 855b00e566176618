"""The inventory names every weight once, as it is multiplied, and every method prunes all of it."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

import methods
from harness.profile.zeros import sparsity
from methods.base import Schedule
from methods.inventory import inventory, prunable_weights

SCHEDULE = Schedule(epochs=4, steps_per_epoch=1, seed=1)


class Zoo(nn.Module):
    """One of each kind of weight, one matrix in two places, and parameters that are no weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.positions = nn.Parameter(torch.randn(1, 4, 8))
        self.stem = nn.Conv1d(3, 8, 3, padding=1)
        self.up = nn.ConvTranspose1d(8, 8, 2, stride=2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.apart = nn.MultiheadAttention(8, 2, kdim=4, vdim=4, batch_first=True)
        self.recurrent = nn.LSTM(8, 8, batch_first=True)
        self.norm = nn.LayerNorm((4, 8))
        self.bank = Bank(8, experts=3)
        self.encode = nn.Linear(8, 8)
        self.decode = nn.Linear(8, 8)
        self.decode.weight = self.encode.weight
        self.labels = nn.Embedding(5, 4)

    def forward(self, signals: Tensor) -> Tensor:
        tokens = self.up(self.stem(signals)).transpose(1, 2) + self.positions
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        known = self.labels.weight.expand(len(tokens), -1, -1)
        tokens = tokens + self.apart(tokens, known, known, need_weights=False)[0]
        tokens = self.norm(tokens + self.recurrent(tokens)[0])
        return self.decode(F.relu(self.encode(self.bank(tokens)))).mean(1)


class Bank(nn.Module):
    """Matrices mixed image by image, as in conditional convolutions."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.randn(experts, width * width))

    def forward(self, tokens: Tensor) -> Tensor:
        routing = tokens.mean((1, 2))[:, None].expand(-1, len(self.weight)).sigmoid()
        return tokens @ (routing @ self.weight).view(-1, self.width, self.width)


KINDS = {
    "stem": "conv",
    "up": "conv_transpose",
    "attention.in_proj": "attention",
    "attention.out_proj": "linear",
    "apart.q_proj": "attention",
    "apart.k_proj": "attention",
    "apart.v_proj": "attention",
    "apart.out_proj": "linear",
    "recurrent.weight_ih_l0": "recurrent",
    "recurrent.weight_hh_l0": "recurrent",
    "bank": "bank",
    "encode": "linear",
}
# (method, settings, whether the zeros are exactly round(0.9 * N))
METHODS = [
    ("random", {"sparsity": 0.9}, True),
    ("magnitude", {"sparsity": 0.9, "allocation": "global"}, True),
    ("magnitude", {"sparsity": 0.9, "allocation": "lamp"}, True),
    ("magnitude", {"sparsity": 0.9, "allocation": "erk"}, True),
    ("magnitude", {"sparsity": 0.9, "allocation": "uniform"}, True),
    ("gmp", {"sparsity": 0.9}, True),
    ("acdc", {"sparsity": 0.9}, True),
    ("deep-compression", {"sparsity": 0.9}, True),
    ("gmp", {"sparsity": 0.9, "variant": "released"}, False),
    ("acdc", {"allocation": "2:4"}, False),
    ("str", {"s_init": -3.0}, False),
    ("str", {"s_init": -3.0, "granularity": "filter"}, False),
    ("dnw", {"sparsity": 0.9}, False),
]


def _stored(model: nn.Module, name: str) -> Tensor:
    """A weight of `Zoo` by plain torch."""
    state = dict(model.named_parameters())
    return next(state[key] for key in (f"{name}.weight", f"{name}_weight", name) if key in state)


def _method(name, settings):
    kind = methods.get(name)
    return kind(kind.Settings(**settings))


def _trained(net, method):
    method.attach(net, SCHEDULE)
    optimizer = torch.optim.SGD(method.parameter_groups(net) or net.parameters(), 0.1)
    method.bind(optimizer)
    for epoch in range(SCHEDULE.epochs):
        method.begin_epoch(epoch)
        method.begin_step(epoch)
        optimizer.zero_grad()
        x = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(epoch))
        net(x).square().mean().backward()
        method.after_backward()
        optimizer.step()
        method.after_step()
        method.end_epoch(epoch)
    return net


def test_every_kind_of_weight_is_named_once_and_the_rest_is_listed():
    model = Zoo()
    found = inventory(model)
    assert {weight.name: weight.kind for weight in found.weights} == KINDS
    assert found.named["encode"].aliases == ("decode",)
    outside = {part.name: (part.kind, part.size) for part in found.outside}
    assert outside["positions"] == ("table", 32)
    assert outside["norm.weight"] == ("norm", 32)
    assert outside["labels.weight"] == ("embedding", 20)
    assert outside["attention.in_proj_bias"] == ("bias", 24)
    counted = sum(weight.numel() for weight in found.weights) + sum(p.size for p in found.outside)
    assert counted == sum(parameter.numel() for parameter in model.parameters())


def test_names_of_a_convolutional_network_are_its_conv_and_linear_layers():
    model = torchvision.models.resnet18()
    layers = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert list(prunable_weights(model)) == layers


@pytest.mark.parametrize(
    "case", METHODS, ids=lambda case: "-".join(map(str, (case[0], *case[1].values())))
)
def test_every_method_prunes_every_kind_of_weight(case):
    name, settings, exact = case
    net = Zoo()
    keys = list(net.state_dict())
    method = _method(name, settings)
    _trained(net, method)
    x = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        before = net.eval()(x)
        copied = method.finalize(copy.deepcopy(net))
        plain = method.finalize(net)
        torch.testing.assert_close(plain(x), before)
        assert torch.equal(copied(x), plain(x))
    assert list(plain.state_dict()) == keys
    assert plain.encode.weight is plain.decode.weight
    zeros = {layer: int((_stored(plain, layer) == 0).sum()) for layer in KINDS}
    if exact:
        total = sum(_stored(plain, layer).numel() for layer in KINDS)
        assert sum(zeros.values()) == round(0.9 * total)
    else:
        assert all(zeros.values())
    assert not any((_stored(plain, name) == 0).any() for name in ("positions", "labels"))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("magnitude", {"sparsity": 0.5}),
        ("dnw", {"sparsity": 0.5}),
        ("gmp", {"sparsity": 0.5, "variant": "released"}),
    ],
)
def test_parts_of_a_fused_projection_can_be_left_out(name, settings):
    net = Zoo()
    before = net.attention.in_proj_weight.detach().clone()
    method = _method(name, {**settings, "include": ["attention.*"], "exclude": ["*.in_proj.k"]})
    plain = method.finalize(_trained(net, method))
    q, k, v = plain.attention.in_proj_weight.detach().chunk(3)
    assert (q == 0).any() and (v == 0).any()
    assert not (k == 0).any()
    assert not torch.equal(k, before.chunk(3)[1])  # it learned
    assert not any(
        (_stored(plain, layer) == 0).any() for layer in KINDS if "attention" not in layer
    )


@pytest.mark.parametrize(
    ("include", "exclude", "names"),
    [
        (["attention.in_proj*"], [], ["attention.in_proj"]),
        (["*.in_proj.q", "*.in_proj.v"], [], ["attention.in_proj.q", "attention.in_proj.v"]),
        (["*in_proj"], ["*.q"], ["attention.in_proj.k", "attention.in_proj.v"]),
        (["decode"], [], ["encode"]),
        (["*code"], ["decode"], []),
    ],
)
def test_patterns_match_parts_and_every_name_of_a_tied_weight(include, exclude, names):
    assert list(inventory(Zoo()).select(include, exclude)) == names


def test_a_pattern_that_matches_nothing_is_named():
    with pytest.raises(
        ValueError, match="pattern 'positions' matches no weight; weights: stem, up"
    ):
        inventory(Zoo()).select(exclude=["positions"])


def test_standardised_weights_are_judged_by_what_is_multiplied():
    torch.manual_seed(0)
    model = timm.create_model("resnetv2_50x1_bit", num_classes=5)
    with torch.no_grad():
        for weight in prunable_weights(model).values():
            weight.stored.mul_(torch.rand(weight.shape) < 0.1)
    seen = {}

    def catch(module, inputs):
        seen["kernel"] = F.batch_norm(
            module.weight.reshape(1, module.out_channels, -1),
            None, None, training=True, momentum=0.0, eps=module.eps,
        ).reshape_as(module.weight)  # fmt: skip

    layer = model.stages[0].blocks[0].conv2
    catch(layer, ())
    weight = prunable_weights(model)["stages.0.blocks.0.conv2"]
    torch.testing.assert_close(weight.used, seen["kernel"])
    profile = {row.name: row for row in sparsity(model).layers}["stages.0.blocks.0.conv2"]
    assert profile.nnz == profile.total
    assert profile.nnz_stored == int(layer.weight.count_nonzero()) < 0.2 * profile.total


def test_masks_of_torchs_pruning_count_without_a_forward_pass():
    model = Zoo()
    for module, name in ((model.stem, "weight"), (model.attention, "in_proj_weight")):
        prune.l1_unstructured(module, name, amount=0.5)
        with torch.no_grad():
            getattr(module, f"{name}_mask").zero_()  # as if loaded from a file
    rows = {row.name: row for row in sparsity(model).layers}
    assert set(rows) == set(KINDS)
    for name in ("stem", "attention.in_proj"):
        assert (rows[name].nnz, rows[name].nnz_stored) == (0, rows[name].total)


def test_a_parametrized_weight_shows_both_the_stored_and_the_used():
    layer = weight_norm(nn.Linear(6, 4))
    with torch.no_grad():
        layer.parametrizations.weight.original0[1] = 0  # the norm of one row
    row = sparsity(nn.Sequential(layer)).layers[0]
    assert (row.name, row.nnz, row.nnz_stored) == ("0", 18, 24)


def test_a_bank_of_kernels_is_a_weight():
    model = timm.create_model("tf_efficientnet_cc_b0_4e")
    found = inventory(model)
    banks = [weight for weight in found.weights if weight.kind == "bank"]
    assert banks and all(weight.shape[0] == 4 for weight in banks)
    left = sum(part.size for part in found.outside)
    assert left / sum(p.numel() for p in model.parameters()) < 0.01
