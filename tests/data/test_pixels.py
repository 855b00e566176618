from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from harness.data.pixels import Normalise, in_channels, resized
from harness.errors import DataError

# Both sides round in float32: x * a + b here, (x / 255 - mean) / std there; values reach 2.7.
ATOL_NORMALISED = 1e-6
# Values of scale 255 reach 255, where float32 steps are 256 times coarser.
ATOL_SCALE_255 = 256e-6

CONSTANTS = {
    "cifar, three papers' mean": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar, rate-distortion": ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)),
    "cifar-100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
EVERY_VALUE = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)


@pytest.mark.parametrize("name", CONSTANTS)
def test_normalisation_equals_torchvision_for_every_pixel_value(name: str) -> None:
    mean, std = CONSTANTS[name]
    reference = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    got = Normalise(mean, std)(EVERY_VALUE)
    assert got.dtype == torch.float32
    assert torch.allclose(got, reference(EVERY_VALUE), rtol=0, atol=ATOL_NORMALISED)


def test_scale_255_refers_mean_and_std_to_raw_pixels() -> None:
    mean, std = (104.0, 117.0, 123.0), (1.0, 1.0, 2.0)
    want = (EVERY_VALUE.double() - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(
        3, 1, 1
    )
    got = Normalise(mean, std, scale=255.0)(EVERY_VALUE)
    assert torch.allclose(got.double(), want, rtol=0, atol=ATOL_SCALE_255)


@pytest.mark.parametrize(
    ("mean", "std"), [((0.5,), (0.5, 0.5)), ((), ()), ((0.5,), (0.0,)), ((0.5,), (0.5,))]
)
def test_constants_that_do_not_fit_are_refused(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    with pytest.raises(DataError, match="one"):
        Normalise(mean, std)(EVERY_VALUE)


@pytest.mark.parametrize(("channels", "size", "side"), [(1, 28, 32), (3, 32, 20), (3, 9, 40)])
def test_resize_equals_torchvision_on_pillow_images(channels: int, size: int, side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (5, channels, size, size), generator=generator, dtype=torch.uint8)
    reference = v2.Compose([v2.ToPILImage(), v2.Resize((side, side)), v2.PILToTensor()])
    assert torch.equal(resized(images, side), torch.stack([reference(image) for image in images]))


def test_resize_to_the_own_size_changes_nothing() -> None:
    assert resized(EVERY_VALUE, 16) is EVERY_VALUE


def random_colours() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(256, (2, 3, 64, 64), generator=generator, dtype=torch.uint8)


def test_gray_equals_pillow_on_random_colours() -> None:
    images = random_colours()
    got = in_channels(images, "gray")
    for image, gray in zip(images, got, strict=True):
        pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")
        assert (gray[0].numpy() == np.asarray(pillow)).all()


def test_bgr_reverses_the_planes_and_rgb_leaves_them() -> None:
    images = random_colours()
    assert torch.equal(in_channels(images, "bgr"), images[:, [2, 1, 0]])
    assert in_channels(images, "rgb") is images


@pytest.mark.parametrize(("channels", "count"), [("rgb", 3), ("bgr", 3), ("gray", 1)])
def test_one_plane_is_repeated_for_colour(channels: str, count: int) -> None:
    plane = random_colours()[:, :1]
    assert torch.equal(in_channels(plane, channels), plane.repeat(1, count, 1, 1))


def test_an_unknown_channel_order_is_refused() -> None:
    with pytest.raises(DataError, match="'rbg' are unknown"):
        in_channels(EVERY_VALUE, "rbg")
