"""Curves and allocations that are kept: what is asked again, what is dropped, what is drawn."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from methods.base import Schedule
from methods.rate_distortion import (
    OfficialIndexError,
    RateDistortion,
    RateDistortionSettings,
    curve_key,
    curves,
    network_hash,
)
from methods.rate_distortion.redraw import redrawing
from tests.methods.rd_fixtures import Tiny, arrays

POINTS = 10


class Shelf:
    """A store in memory that counts what it is given."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, Tensor]] = {}
        self.saved: list[str] = []
        self.notes: list[str] = []
        self.ticks: list[tuple[int, int]] = []
        self.stop_after: int | None = None

    def load(self, key: str) -> Mapping[str, Tensor]:
        return dict(self.parts.get(key, {}))

    def save(self, key: str, name: str, part: Tensor) -> None:
        if len(self.saved) == self.stop_after:
            raise KeyboardInterrupt
        self.parts.setdefault(key, {})[name] = part
        self.saved.append(name)

    def forget(self, key: str) -> None:
        self.parts.pop(key, None)

    def progress(self, done: int, total: int) -> None:
        self.ticks.append((done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


class Idle(nn.Module):
    """A layer that no image ever passes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3)
        self.idle = nn.Conv2d(3, 2, 1)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))


def _images(count: int = 4) -> Tensor:
    return torch.tensor(arrays("tiny_a")["calib_x"])[:count]


def _pruned(
    shelf: Shelf, target: float = 0.5, model: nn.Module | None = None, **settings
) -> RateDistortion:
    method = RateDistortion(RateDistortionSettings(**{"points": POINTS, **settings}))
    method.store = shelf
    method.prune(Tiny("tiny_a") if model is None else model, target, _images())
    return method


def _same(one: RateDistortion, other: RateDistortion) -> bool:
    return all(torch.equal(one.masks[name], mask) for name, mask in other.masks.items())


def test_a_second_event_on_the_same_network_measures_and_solves_nothing():
    shelf = Shelf()
    first = _pruned(shelf)
    assert sorted(shelf.saved) == ["choices", "conv1", "conv2", "conv3", "conv4", "fc"]
    assert shelf.ticks[-1][0] == shelf.ticks[-1][1] > 0
    shelf.saved, shelf.ticks = [], []
    assert _same(_pruned(shelf), first)
    assert (shelf.saved, shelf.ticks) == ([], [])


def test_another_target_takes_the_curves_and_solves_again():
    shelf = Shelf()
    _pruned(shelf, 0.5)
    shelf.saved = []
    other = _pruned(shelf, 0.8)
    assert shelf.saved == ["choices"]
    assert _same(other, _pruned(Shelf(), 0.8))


@pytest.mark.parametrize(
    "changed",
    [{"points": 5}, {"reduction": "mean"}, {"solver": "official"}, {"budget": "macs"}],
)
def test_other_settings_never_meet_a_stored_answer(changed):
    shelf = Shelf()
    _pruned(shelf, 0.3)
    shelf.saved = []
    found = _pruned(shelf, 0.3, **changed)
    assert "choices" in shelf.saved
    assert ("conv1" in shelf.saved) == bool(changed.keys() & {"points", "reduction"})
    assert _same(found, _pruned(Shelf(), 0.3, **changed))


def test_an_allocation_of_fewer_layers_is_another_one():
    shelf = Shelf()
    _pruned(shelf)
    shelf.saved = []
    assert "fc" not in _pruned(shelf, exclude=("fc",)).masks
    assert shelf.saved == ["choices"]


def test_an_interrupted_measurement_goes_on_with_the_next_layer():
    shelf = Shelf()
    shelf.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        _pruned(shelf)
    assert shelf.saved == ["conv1", "conv2"]
    shelf.stop_after = None
    resumed = _pruned(shelf)
    assert shelf.saved == ["conv1", "conv2", "conv3", "conv4", "fc", "choices"]
    assert _same(resumed, _pruned(Shelf()))


def test_nothing_is_kept_of_a_network_whose_logits_break():
    class Reciprocal(Idle):
        def forward(self, x: Tensor) -> Tensor:
            return 1 / super().forward(x)

    model, shelf = Reciprocal(), Shelf()
    nn.init.zeros_(model.fc.bias)  # without weights left in fc, 1 / 0
    with pytest.raises(ValueError, match="'fc' with .* not finite"):
        _pruned(shelf, model=model)
    assert shelf.saved == ["conv"]  # it was complete when fc failed
    assert shelf.parts == {}


def test_a_layer_never_executed_is_pruned_first_and_named():
    shelf, model = Shelf(), Idle()
    method = _pruned(shelf, 0.02, model=model)
    assert method.allocation.kept == (162, 2, 24)  # of 162, 6 and 24: 4 of 192 weights go
    assert len(shelf.notes) == 1
    assert shelf.notes[0].startswith("layer idle is never executed")


def test_the_published_program_fails_on_a_layer_never_executed():
    shelf = Shelf()
    with pytest.raises(OfficialIndexError, match="'idle' is never executed"):
        _pruned(shelf, 0.02, model=Idle(), solver="official")
    assert (shelf.saved, shelf.ticks) == ([], [])
    _pruned(Shelf(), 0.02, model=Idle(), solver="official", calibration="synthetic")


def test_a_target_the_published_program_cannot_reach_is_refused_before_measuring():
    shelf = Shelf()
    with pytest.raises(OfficialIndexError, match="use the exact solver"):
        _pruned(shelf, 0.9, solver="official")
    assert (shelf.saved, shelf.ticks) == ([], [])


def test_networks_with_the_same_tensors_and_another_forward_have_other_hashes():
    class Renamed(Tiny):
        pass

    one, same, other = Tiny("tiny_a"), Tiny("tiny_a"), Renamed("tiny_a")
    assert network_hash(one) == network_hash(same)
    assert network_hash(one) != network_hash(other)
    assert network_hash(same.to(memory_format=torch.channels_last)) != network_hash(one)
    same.to(memory_format=torch.contiguous_format)
    one.conv1.stride = (3, 3)
    assert network_hash(one) != network_hash(same)


def test_keys_tell_batch_size_device_and_layers_apart():
    keys = [
        curve_key("w", "c", "worst", 100),
        curve_key("w", "c", "worst", 100, batch_size=7),
        curve_key("w", "c", "worst", 100, device="cuda"),
        curve_key("w", "c", "worst", 100, solver="exact", layers=["a"]),
        curve_key("w", "c", "worst", 100, solver="exact", layers=["a", "b"]),
    ]
    assert len(set(keys)) == len(keys)


def test_calibration_is_asked_for_by_the_settings():
    real = RateDistortion(RateDistortionSettings(calibration_size=10))
    assert real.calibration_rows(100, False) == list(range(0, 100, 10))
    assert real.calibration_rows(100, True) == list(range(0, 90, 10))
    assert real.calibration_images((3, 4, 4), 0) is None
    made_up = RateDistortion(RateDistortionSettings(calibration="synthetic", calibration_size=10))
    assert made_up.calibration_rows(100, False) is None
    assert made_up.calibration_images((3, 4, 4), 0).shape == (10, 3, 4, 4)


def test_a_redrawn_picture_is_a_crop_of_itself_in_black_maybe_mirrored():
    images = torch.arange(1.0, 26.0).view(1, 1, 5, 5).repeat(40, 2, 1, 1)
    images[:, 1] *= -1
    drawn = redrawing(images, seed=0)("conv1.weight")(images)
    assert drawn.shape == images.shape
    seen = set()
    for picture in drawn:
        seen.add(_crop_of(picture, images[0]))
    assert len(seen) > 20
    assert {flipped for *_, flipped in seen} == {False, True}


def _crop_of(picture: Tensor, whole: Tensor) -> tuple[int, int, bool]:
    """Offset and mirroring that give `picture`; fails if none does."""
    padded = torch.stack([torch.full((13, 13), float(channel.min())) for channel in whole])
    padded[:, 4:9, 4:9] = whole
    for top in range(9):
        for left in range(9):
            part = padded[:, top : top + 5, left : left + 5]
            for flipped, candidate in ((False, part), (True, part.flip(2))):
                if torch.equal(candidate, picture):
                    return top, left, flipped
    raise AssertionError("no crop of the picture")


def test_redrawn_calibration_has_noise_at_rate_0_and_the_same_for_the_same_seed():
    model, images = Tiny("tiny_a"), _images()
    noisy = [curves(model, images, 4, redraw=redrawing(images, seed)) for seed in (0, 0, 1)]
    assert noisy[0][:, 0].all()
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])
    assert not curves(model, images, 4)[:, 0].any()


def test_redrawn_curves_do_not_depend_on_what_was_known():
    method, shelf = _augmented(Shelf())
    other = Shelf()
    key = next(key for key, parts in shelf.parts.items() if "conv1" in parts)
    other.parts = {key: {"conv1": shelf.parts[key]["conv1"]}}
    resumed, _ = _augmented(other)
    one, two = method.allocation.measurement, resumed.allocation.measurement
    assert torch.equal(one.distortion, two.distortion)


def _augmented(shelf: Shelf) -> tuple[RateDistortion, Shelf]:
    method = RateDistortion(RateDistortionSettings(points=2, calib_augment=True))
    method.store = shelf
    model = Tiny("tiny_a")
    method.attach(model, Schedule(0, 1, seed=3))
    method.prune(model, 0.5, _images())
    return method, shelf


def test_made_up_images_are_never_redrawn():
    with pytest.raises(ValueError, match="leave out calib_augment"):
        RateDistortionSettings(calibration="synthetic", calib_augment=True)
