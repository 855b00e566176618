from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import functional as reference

from harness.data.augment import Augment, Draws
from harness.data.pixels import Normalise
from harness.errors import ProtocolError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
NORMALISE = Normalise(MEAN, STD)
# Chi-square with 80 degrees of freedom exceeds this once in 10,000 seeds; the seed is fixed.
CHI2_80 = 136.0
# Six standard deviations of a mean of 20,000 coin flips.
COIN = 6 * math.sqrt(0.25 / 20_000)


def pictures(count: int, side: int = 12, channels: int = 3) -> Tensor:
    """uint8 without zeros, so that padding shows."""
    generator = torch.Generator().manual_seed(5)
    shape = (count, channels, side, side)
    return torch.randint(1, 256, shape, generator=generator, dtype=torch.uint8)


def one_by_one(augment: Augment, images: Tensor, draws: Draws) -> Tensor:
    """What the docstring of Augment says, image after image and without index arithmetic."""
    out = []
    for i, image in enumerate(images):
        side = image.shape[-1]
        padded = reference.pad(image, [augment.crop_padding])
        image = reference.crop(padded, int(draws.down[i]), int(draws.across[i]), side, side)
        if draws.flipped[i]:
            image = reference.hflip(image)
        if augment.rotation_degrees:
            image = reference.rotate(image, math.degrees(draws.radians[i]))
        pixels = (image / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        if augment.cutout:
            top = int(draws.cut_row[i]) - augment.cutout // 2
            left = int(draws.cut_column[i]) - augment.cutout // 2
            for y in range(max(top, 0), min(top + augment.cutout, side)):
                for x in range(max(left, 0), min(left + augment.cutout, side)):
                    pixels[:, y, x] = 0
        out.append(pixels)
    return torch.stack(out)


AUGMENTS = {
    "nothing": Augment(),
    "crop": Augment(crop_padding=4),
    "flip": Augment(flip=True),
    "crop and flip": Augment(crop_padding=4, flip=True),
    "cutout even": Augment(cutout=4),
    "cutout odd": Augment(cutout=5),
    "rotation": Augment(rotation_degrees=(-180, 180)),
    "all": Augment(crop_padding=2, flip=True, cutout=6, rotation_degrees=(0, 180)),
}


@pytest.mark.parametrize("name", AUGMENTS)
def test_a_batch_equals_the_images_augmented_one_by_one(name: str) -> None:
    augment, images = AUGMENTS[name], pictures(40)
    draws = augment.draw(40, 12, 12, torch.Generator().manual_seed(1))
    got = augment(images, draws, NORMALISE)
    assert got.dtype == torch.float32
    assert torch.allclose(got, one_by_one(augment, images, draws), rtol=0, atol=1e-6)


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    pad=st.integers(0, 5),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=40, derandomize=True)
def test_crops_of_any_shape_are_windows_of_the_padded_image(
    height: int, width: int, pad: int, seed: int
) -> None:
    images = torch.randint(1, 256, (3, 2, height, width), dtype=torch.uint8)
    augment = Augment(crop_padding=pad)
    draws = augment.draw(3, height, width, torch.Generator().manual_seed(seed))
    got = augment.moved(images, draws)
    for i in range(3):
        window = reference.pad(images[i], [pad])
        y, x = int(draws.down[i]), int(draws.across[i])
        assert torch.equal(got[i], window[:, y : y + height, x : x + width])


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_quarter_turns_are_exact_and_counter_clockwise(degrees: int) -> None:
    images = pictures(2)
    augment = Augment(rotation_degrees=(degrees, degrees))
    draws = augment.draw(2, 12, 12, torch.Generator().manual_seed(0))
    turned = torch.rot90(images, degrees // 90, dims=(2, 3))
    assert torch.equal(augment.moved(images, draws), turned)


def test_offsets_are_uniform_over_every_place() -> None:
    count = 20_000
    draws = Augment(crop_padding=4).draw(count, 32, 32, torch.Generator().manual_seed(2))
    places = torch.bincount(draws.down * 9 + draws.across, minlength=81).double()
    expected = count / 81
    assert places.numel() == 81
    assert float(((places - expected) ** 2 / expected).sum()) < CHI2_80


def test_half_of_the_images_are_flipped_independently_of_the_crop() -> None:
    augment = Augment(crop_padding=1, flip=True)
    draws = augment.draw(20_000, 32, 32, torch.Generator().manual_seed(3))
    flipped = draws.flipped.double()
    assert abs(float(flipped.mean()) - 0.5) < COIN
    assert abs(float(flipped[draws.down == 0].mean()) - 0.5) < 2 * COIN


def test_angles_fill_the_stated_range() -> None:
    augment = Augment(rotation_degrees=(0, 180))
    draws = augment.draw(20_000, 32, 32, torch.Generator().manual_seed(4))
    assert 0 <= float(draws.radians.min()) < 0.01
    assert math.pi - 0.01 < float(draws.radians.max()) <= math.pi
    assert abs(float(draws.radians.mean()) - math.pi / 2) < 2 * math.pi * COIN


def test_the_generator_decides_everything() -> None:
    augment = AUGMENTS["all"]
    draws = [augment.draw(9, 12, 12, torch.Generator().manual_seed(s)) for s in (7, 7, 8)]
    first, same, other = (augment(pictures(9), d, NORMALISE) for d in draws)
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_switching_one_augmentation_on_leaves_the_other_draws_alone() -> None:
    plain, rich = AUGMENTS["crop and flip"], Augment(4, True, 6, (0, 90))
    a, b = (x.draw(50, 12, 12, torch.Generator().manual_seed(9)) for x in (plain, rich))
    assert torch.equal(a.down, b.down) and torch.equal(a.flipped, b.flipped)


def test_the_input_is_left_as_it_was() -> None:
    images = pictures(5)
    before = images.clone()
    for augment in AUGMENTS.values():
        draws = augment.draw(5, 12, 12, torch.Generator().manual_seed(1))
        augment(images, draws, NORMALISE)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    "wrong", [{"crop_padding": -1}, {"cutout": -2}, {"rotation_degrees": (10, 0)}]
)
def test_absurd_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        Augment(**wrong)  # type: ignore[arg-type]
