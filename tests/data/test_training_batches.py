from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from harness.data import (
    Augment,
    FolderTrainBatches,
    ImageIdentity,
    ImageSet,
    PictureSet,
    TrainBatches,
)
from harness.data.layouts.class_folders import scan
from harness.data.training_batches import Share, resized_crop_box
from harness.errors import ProtocolError

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
FULL = Augment(crop_padding=2, flip=True, cutout=3, rotation_degrees=(0, 30))


def image_set(count: int) -> ImageSet:
    """Image i has label i, so labels show the order."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return ImageSet(
        ImageIdentity(
            dataset="toy",
            split="train",
            fingerprint="f",
            copy_name="made up",
            n_total=count,
            approximate_images=None,
        ),
        images,
        torch.arange(count),
    )


def train_batches(count: int = 50, batch_size: int = 8, **options: object) -> TrainBatches:
    given_options = {"seed": 1, "augment": FULL, **options}
    return TrainBatches(
        image_set(count),
        batch_size=batch_size,
        mean=MEAN,
        std=STD,
        **given_options,  # type: ignore[arg-type]
    )


def order(batches: TrainBatches, epoch: int) -> list[int]:
    return torch.cat([labels for _, labels in batches.epoch(epoch)]).tolist()


def test_an_epoch_shows_every_image_once_in_its_own_order() -> None:
    batches = train_batches()
    orders = [order(batches, epoch) for epoch in range(4)]
    assert all(sorted(o) == list(range(50)) for o in orders)
    assert len({tuple(o) for o in orders}) == 4
    assert len(batches) == 7


def test_drop_last_leaves_out_the_incomplete_batch() -> None:
    batches = train_batches(drop_last=True)
    sizes = [len(labels) for _, labels in batches.epoch(0)]
    assert sizes == [8] * 6 and len(batches) == 6


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    used, fresh = train_batches(), train_batches()
    list(used.epoch(0))
    torch.rand(3)  # the global generator has no part in it
    for (a, b), (c, d) in zip(used.epoch(3), fresh.epoch(3), strict=True):
        assert torch.equal(a, c) and torch.equal(b, d)
    assert order(train_batches(seed=2), 3) != order(fresh, 3)


def test_starting_in_the_middle_gives_the_rest_of_the_epoch() -> None:
    batches = train_batches()
    rest = itertools.islice(batches.epoch(1), 4, None)
    for (a, b), (c, d) in zip(rest, batches.epoch(1, start=4), strict=True):
        assert torch.equal(a, c) and torch.equal(b, d)


@pytest.mark.parametrize("world_size", [2, 3])
def test_shares_of_all_ranks_make_up_the_global_batch(world_size: int) -> None:
    whole = train_batches(count=47, batch_size=12)
    ranks = [
        train_batches(count=47, batch_size=12, rank=rank, world_size=world_size).epoch(2)
        for rank in range(world_size)
    ]
    for (images, labels), *shares in zip(whole.epoch(2), *ranks, strict=True):
        assert torch.equal(torch.cat([share[0] for share in shares]), images)
        assert torch.equal(torch.cat([share[1] for share in shares]), labels)


@given(
    count=st.integers(1, 200),
    batch_size=st.integers(1, 64),
    world_size=st.integers(1, 5),
    drop_last=st.booleans(),
)
@settings(deadline=None, max_examples=50, derandomize=True)
def test_shares_partition_every_step_or_are_refused(
    count: int, batch_size: int, world_size: int, drop_last: bool
) -> None:
    try:
        shares = [
            Share(count, batch_size, drop_last, rank, world_size) for rank in range(world_size)
        ]
    except ProtocolError:
        last = count if count < batch_size else (count % batch_size or batch_size)
        smallest = batch_size if drop_last and count >= batch_size else min(last, batch_size)
        assert smallest < world_size or (drop_last and count < batch_size)
        return
    seen: list[int] = []
    for step in range(len(shares[0])):
        parts = [range(*share.bounds(step)) for share in shares]
        assert min(map(len, parts)) >= 1 and max(map(len, parts)) - min(map(len, parts)) <= 1
        assert sum(map(len, parts)) == shares[0].global_size(step)
        seen += itertools.chain.from_iterable(parts)
    kept = count - count % batch_size if drop_last else count
    assert seen == list(range(kept))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"rank": 2, "world_size": 2}, "rank 2"),
        ({"batch_size": 64, "drop_last": True}, "no step"),
        ({"batch_size": 0}, "no step"),
        ({"batch_size": 49, "world_size": 2}, "batch of 1 images"),
    ],
)
def test_batches_nobody_can_use_are_refused(wrong: dict[str, object], reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        train_batches(**wrong)  # type: ignore[arg-type]


def picture_tree(folder: Path, per_class: int = 5) -> PictureSet:
    rng = np.random.default_rng(0)
    for label in range(3):
        (folder / f"c{label}").mkdir(parents=True)
        for i in range(per_class):
            pixels = rng.integers(0, 256, (30 + 3 * i, 40 - 2 * i, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"c{label}/{i}.png")
    found = scan(folder, 3)
    return PictureSet(
        ImageIdentity(
            dataset="toy",
            split="train",
            fingerprint=found.fingerprint,
            copy_name="made up",
            n_total=len(found.files),
            approximate_images=None,
        ),
        found,
    )


def folder_batches(source: PictureSet, **options: object) -> FolderTrainBatches:
    options = {"crop": 16, "batch_size": 6, "seed": 1, **options}
    return FolderTrainBatches(source, mean=MEAN, std=STD, **options)  # type: ignore[arg-type]


def test_folder_epochs_are_reproducible_and_differ(tmp_path: Path) -> None:
    source = picture_tree(tmp_path)
    one, two = folder_batches(source), folder_batches(source)
    for (a, b), (c, d) in zip(one.epoch(0), two.epoch(0), strict=True):
        assert a.shape[1:] == (3, 16, 16) and a.dtype == torch.float32
        assert torch.equal(a, c) and torch.equal(b, d)
    assert not torch.equal(next(one.epoch(0))[0], next(one.epoch(1))[0])
    labels = torch.cat([labels for _, labels in one.epoch(0)])
    assert labels.bincount().tolist() == [5, 5, 5]


def test_folder_shares_and_late_starts_match_the_whole(tmp_path: Path) -> None:
    source = picture_tree(tmp_path)
    whole = list(folder_batches(source).epoch(2))
    ranks = [list(folder_batches(source, rank=r, world_size=2).epoch(2, start=1)) for r in (0, 1)]
    for (images, labels), left, right in zip(whole[1:], *ranks, strict=True):
        assert torch.equal(torch.cat([left[0], right[0]]), images)
        assert torch.equal(torch.cat([left[1], right[1]]), labels)


def test_folder_without_random_crop_uses_the_evaluation_pipeline(tmp_path: Path) -> None:
    source = picture_tree(tmp_path, per_class=1)
    batches = folder_batches(source, resize=20, flip=False, interpolation="bicubic", batch_size=3)
    images, labels = next(batches.epoch(0))
    pipeline = transforms.Compose(
        [
            transforms.Resize(20, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(16),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    for image, label in zip(images, labels.tolist(), strict=True):
        want = pipeline(Image.open(source.pictures.files[label]))
        assert torch.allclose(image, want, rtol=0, atol=1e-6)


def test_folder_flips_mirror_about_half_of_the_pictures(tmp_path: Path) -> None:
    source = picture_tree(tmp_path, per_class=1)
    plain = folder_batches(source, resize=20, flip=False, batch_size=3)
    flipped = folder_batches(source, resize=20, flip=True, batch_size=3)
    mirrored = 0
    for epoch in range(20):
        for a, b in zip(next(plain.epoch(epoch))[0], next(flipped.epoch(epoch))[0], strict=True):
            assert torch.equal(a, b) or torch.equal(a.flip(2), b)
            mirrored += not torch.equal(a, b)
    assert 15 <= mirrored <= 45  # of 60; four standard deviations


@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=50, derandomize=True)
def test_random_boxes_lie_inside_the_picture(width: int, height: int, seed: int) -> None:
    uniforms = np.random.default_rng(seed).random(22)
    left, top, right, bottom = resized_crop_box(width, height, uniforms)
    assert 0 <= left < right <= width and 0 <= top < bottom <= height


@pytest.mark.parametrize(("width", "height"), [(500, 375), (100, 400)])
def test_random_boxes_are_distributed_as_in_torchvision(width: int, height: int) -> None:
    count = 3000
    rng = np.random.default_rng(0)
    ours = np.array([resized_crop_box(width, height, rng.random(22)) for _ in range(count)])
    torch.manual_seed(0)
    blank = Image.new("L", (width, height))
    theirs = np.array(
        [
            transforms.RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3])
            for _ in range(count)
        ]
    )
    boxes = np.stack([theirs[:, 1], theirs[:, 0], theirs[:, 1] + theirs[:, 3]], 1)
    for column in range(3):  # left, top, right
        a, b = np.sort(ours[:, column]), np.sort(boxes[:, column])
        grid = np.arange(width + height)
        gap = np.abs(np.searchsorted(a, grid) - np.searchsorted(b, grid)).max() / count
        # Two-sample Kolmogorov-Smirnov distance, exceeded by equal distributions once in 10,000.
        assert gap < 2.22 * math.sqrt(2 / count)


def test_a_picture_no_box_fits_is_cut_to_the_nearest_allowed_ratio() -> None:
    unlucky = np.full(22, 1 - 1e-12)  # always the whole area at ratio 4/3
    assert resized_crop_box(100, 1000, unlucky) == (0, 433, 100, 566)
    assert resized_crop_box(1000, 100, unlucky) == (433, 0, 566, 100)
