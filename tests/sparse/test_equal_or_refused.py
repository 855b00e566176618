"""What torch.fx shows badly or not at all: it is followed all the same, or refused by name."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from harness import sparse
from harness.errors import ProtocolError
from tests.sparse.pruned import ORDER_OF_SUMS, images, pruned, relative_difference


def same_when_compiled(model: nn.Module, forms: tuple[str, ...] = ()) -> sparse.CompiledNetwork:
    batch = images(3, 3, 16, 16)
    fast = sparse.compile(model, batch, only=forms, slower="keep")
    with torch.no_grad():
        assert relative_difference(fast(batch), model.eval()(batch)) < ORDER_OF_SUMS
    return fast


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.pool, self.point = nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1, stride=2)


class TwoSummaries(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        early = self.pool(x).flatten(1)  # a view, read after the next pooling has run
        return torch.cat([early, self.pool(self.second(x)).flatten(1)], 1)


class LateHalf(Layers):
    def forward(self, x: Tensor) -> Tensor:
        halves = torch.chunk(self.first(x), 2, 1)
        doubled = torch.cat([halves[0], halves[0]], 1)
        return self.second(doubled)[:, :4] + halves[1]


@pytest.mark.parametrize("model", [TwoSummaries(), LateHalf()], ids=lambda m: type(m).__name__)
def test_views_outlive_the_value_they_were_taken_of(model: nn.Module) -> None:
    same_when_compiled(pruned(model, 0.5, empty_filters=0), ("dense",))


class Twice(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)[:, :, 1:, 1:]  # 15x15, of which the strided layer makes 8x8 and then 4x4
        return self.point(self.point(x))


def test_a_layer_called_at_two_sizes_is_chosen_for_each() -> None:
    fast = same_when_compiled(pruned(Twice(), 0.3, empty_filters=0), ("direct-bag", "rows-csr"))
    assert [layer.name for layer in fast.plan.layers] == ["first", "point", "point"]
    assert [layer.macs_dense for layer in fast.plan.layers[1:]] == [64 * 64, 64 * 16]
    assert all(0 < layer.density < 1 for layer in fast.plan.layers)
    assert "direct-bag" not in fast.plan.layers[1].ms  # every other of 15 rows is no block


class Thresholded(Layers):
    """Weights worked out in the forward, as STR trains them."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.first.weight
        kept = torch.sign(weight) * torch.relu(weight.abs() - 0.1)
        return torch.relu(nn.functional.conv2d(x, kept + 0, self.first.bias, padding=1))


def test_weights_that_the_forward_works_out_are_no_feature_maps() -> None:
    same_when_compiled(Thresholded())


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.permute(0, 2, 3, 1).reshape(-1, 3)).view(x.size(0), -1, 5)


def test_a_linear_layer_on_many_rows() -> None:
    same_when_compiled(pruned(Tokens(), 0.5), ("direct-csr",))


def test_a_pooling_that_only_picks_one_pixel() -> None:
    same_when_compiled(nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.AvgPool2d(1, stride=2)))


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_hooks_of_layers_run(before: bool, place: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Identity(), nn.Conv2d(8, 4, 1))
    if before:
        model[place].register_forward_pre_hook(lambda layer, inputs: (inputs[0] * 3 - 1,))
    else:
        model[place].register_forward_hook(lambda layer, inputs, output: output * 3 - 1)
    same_when_compiled(model)


def test_masks_of_torchs_own_pruning_are_taken_as_zeros() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    for layer in (model[0], model[2]):
        prune.l1_unstructured(layer, "weight", amount=0.75)
    fast = same_when_compiled(model)
    assert all(0 < layer.density <= 0.25 for layer in fast.plan.layers)
    assert prune.is_pruned(model)


class Mixing(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return x - x.mean(0, keepdim=True)


class ViewInPlace(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x.flatten(1).relu_()
        return x


class NoBatch(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.first(x)).squeeze()


class Doubling(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return torch.cat([x, x], 0)


class Merging(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.first(x).view(1, 8, 16, 16)


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    model.register_forward_hook(lambda module, inputs, output: -output)
    return model


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (Mixing(), "Mixing .* off by .* of the largest. Likely its forward mixes the images"),
        (ViewInPlace(), "ViewInPlace .* off by .*changes a view in place"),
        (NoBatch(), r"NoBatch .* (shape \(\d+,\) instead of|fails on a batch of)"),
        (Doubling(), "Doubling .* off by"),
        (Merging(), r"Merging .* fails on a batch of \d+ images \(shape"),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), "Sequential .* off by"),
        (hooked(), "Sequential .* off by .* or has hooks"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_followed_is_refused(model: nn.Module, what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        sparse.compile(model, images(1, 3, 16, 16))


class Centred(nn.Module):
    """Takes the mean over the images of a batch away."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x - x.mean(0, keepdim=True))


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("only", [["planes-8"], ["dense"], ["rows-csr"]])
def test_what_mixes_the_images_of_a_batch_is_refused_for_any_example(
    batch: int, only: list[str]
) -> None:
    with pytest.raises(ProtocolError, match="mixes the images of a batch"):
        sparse.compile(Centred(), images(batch, 5, 12), only=only)


class OneImageOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.reshape(5, -1))


@pytest.mark.parametrize("only", [["planes-8"], ["dense"], ["rows-csr"]])
def test_a_forward_for_one_image_alone_is_refused(only: list[str]) -> None:
    with pytest.raises(ProtocolError, match="OneImageOnly cannot be compiled"):
        sparse.compile(OneImageOnly(), images(8, 5, 12), only=only)


class NamedLikeParts(nn.Module):
    """Layers with names that the parts of an attention might have."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(12, 2, batch_first=True)
        self.names = names
        for name in names:
            self.add_module(name, nn.Linear(12, 12))

    def forward(self, x: Tensor) -> Tensor:
        for name in self.names:
            x = self.get_submodule(name)(x)
        mixed, _ = self.attn(x, x, x, need_weights=False)
        return mixed + x


@pytest.mark.parametrize("only", [["planes-8"], ["dense"], ["rows-csr"]])
def test_layers_may_be_called_like_the_parts_of_an_attention(only: list[str]) -> None:
    model, batch = NamedLikeParts(["attn_in", "attn_mixed", "attn_out"]), images(2, 7, 12)
    fast = sparse.compile(pruned(model, 0.5), batch, only=only)
    with torch.inference_mode():
        assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("widths", [(0, 5), (4, 0)])
@pytest.mark.parametrize("only", [["planes-8"], ["dense"], None])
def test_layers_without_weights_run_as_they_are(
    widths: tuple[int, int], only: list[str] | None
) -> None:
    class Empty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ahead, self.layer = nn.Linear(4, 4), nn.Linear(*widths)

        def forward(self, x: Tensor) -> Tensor:
            x = self.ahead(x)
            return torch.cat([self.layer(x[..., : widths[0]]), x], -1)

    model, batch = Empty().eval(), images(2, 3, 4)
    fast = sparse.compile(model, batch, only=only, slower="keep")
    with torch.inference_mode():
        assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS


def test_no_values_are_no_example() -> None:
    with pytest.raises(ProtocolError, match="values in it, not \\(2, 0, 12\\)"):
        sparse.compile(nn.Linear(12, 4), torch.zeros(2, 0, 12))


def test_copying_keeps_a_compiled_network_and_pickling_names_the_way_to_save() -> None:
    fast = sparse.compile(nn.Linear(12, 4), images(2, 3, 12), slower="keep")
    assert copy.copy(fast) is fast is copy.deepcopy(fast)
    with pytest.raises(ProtocolError, match="method save"):
        pickle.dumps(fast)
