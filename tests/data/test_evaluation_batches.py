from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from harness.data import evaluation_batches, load, resident_batches
from harness.errors import DataError, ProtocolError
from harness.registry import Evaluation

DIGITS = Evaluation("digits", 1, "digits", "test", mean=(0.5,), std=(0.25,), channels="gray")
IMAGENET = Evaluation(
    name="imagenet-64",
    version=1,
    dataset="imagenet",
    split="val",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    resize=20,
    crop=16,
)
ATOL_NORMALISED = 1e-6  # one multiply-add against a division and two steps


def test_every_image_comes_once_in_order() -> None:
    batches = evaluation_batches(DIGITS, None, "cpu", batch_size=100)
    whole = load("digits", "test")
    assert len(batches) == 4 and (batches.n, batches.identity.n_total) == (364, 364)
    for _ in range(2):  # iterating again starts over
        parts = list(batches)
        assert [len(labels) for _, labels in parts] == [100, 100, 100, 64]
        images = torch.cat([images for images, _ in parts])
        assert torch.equal(torch.cat([labels for _, labels in parts]), whole.labels)
        want = (whole.images.double() / 255 - 0.5) / 0.25
        assert torch.allclose(images.double(), want, rtol=0, atol=ATOL_NORMALISED)
    assert batches.identity == whole.identity
    assert (whole.identity.dataset, whole.identity.split) == ("digits", "test")
    assert whole.identity.approximate_images == 0


def test_a_limit_is_spread_over_the_split() -> None:
    batches = evaluation_batches(DIGITS, None, "cpu", batch_size=4, limit=7)
    whole = load("digits", "test")
    assert (batches.n, batches.identity.n_total, len(batches)) == (7, 364, 2)
    labels = torch.cat([labels for _, labels in batches])
    assert labels.tolist() == whole.labels[[0, 52, 104, 156, 208, 260, 312]].tolist()
    assert evaluation_batches(DIGITS, None, "cpu", 4, limit=999).n == 364


def test_resize_and_channels_are_those_of_the_evaluation() -> None:
    colour = dataclasses.replace(
        DIGITS, resize=32, channels="rgb", mean=(0.0,) * 3, std=(1.0,) * 3, scale=255.0
    )
    images, _ = next(iter(evaluation_batches(colour, None, "cpu", 5)))
    want = load("digits", "test", size=32).images[:5].float()
    assert torch.allclose(images, want.expand(-1, 3, -1, -1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("absurd", [{"crop": 4}, {"resize": 32}])
def test_a_set_that_does_not_fit_the_evaluation_is_refused(absurd: dict[str, object]) -> None:
    evaluation = dataclasses.replace(DIGITS, **absurd)  # type: ignore[arg-type]
    with pytest.raises(ProtocolError, match="held at 8 pixels"):
        next(iter(resident_batches(load("digits", "test"), evaluation, "cpu", 8)))


@pytest.mark.parametrize(("batch_size", "limit"), [(0, None), (8, 0)])
def test_absurd_sizes_are_refused(batch_size: int, limit: int | None) -> None:
    with pytest.raises(ProtocolError, match="must be positive"):
        evaluation_batches(DIGITS, None, "cpu", batch_size, limit)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand class folders with one small picture each, as a made-up ImageNet."""
    root = tmp_path_factory.mktemp("root")
    rng = np.random.default_rng(0)
    for label in range(1000):
        folder = root / f"imagenet/val/n{label:08d}"
        folder.mkdir(parents=True)
        pixels = rng.integers(0, 256, (18 + label % 7, 19 + label % 5, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "x.png")
    return root


def test_pictures_are_streamed_as_torchvision_would_show_them(tree: Path) -> None:
    batches = evaluation_batches(IMAGENET, tree, "cpu", batch_size=16, limit=40)
    pipeline = transforms.Compose(
        [
            transforms.Resize(20),
            transforms.CenterCrop(16),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET.mean, IMAGENET.std),
        ]
    )
    assert (batches.n, batches.identity.n_total, len(batches)) == (40, 1000, 3)
    got = list(batches)
    assert torch.cat([labels for _, labels in got]).tolist() == list(range(0, 1000, 25))
    for images, labels in got:
        for image, label in zip(images, labels.tolist(), strict=True):
            file = tree / f"imagenet/val/n{label:08d}/x.png"
            want = pipeline(Image.open(file))
            assert torch.allclose(image, want, rtol=0, atol=ATOL_NORMALISED)


def test_pictures_come_from_the_cache_once_it_is_there(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    streamed = list(evaluation_batches(IMAGENET, tree, "cpu", 300))
    assert not list(tmp_path.rglob("*"))  # by default nothing is made
    made = evaluation_batches(IMAGENET, tree, "cpu", 300, cache="build")
    few = evaluation_batches(IMAGENET, tree, "cpu", batch_size=16, limit=40)
    also_few = evaluation_batches(IMAGENET, tree, "cpu", batch_size=16, limit=40, cache="off")
    pairs = [(made, streamed), (few, list(also_few))]
    with monkeypatch.context() as patch:  # no process can be started: nothing is decoded again
        patch.setattr(sys, "executable", "/nonexistent")
        for batches, wanted in pairs:
            for (images, labels), (image, label) in zip(batches, wanted, strict=True):
                assert torch.equal(images, image) and torch.equal(labels, label)


def test_batches_from_a_number_on_are_the_rest(tree: Path) -> None:
    for batches in (
        evaluation_batches(IMAGENET, tree, "cpu", 16, limit=40),
        evaluation_batches(DIGITS, None, "cpu", 100),
    ):
        whole = list(batches)
        for start in (1, 2, len(whole)):
            rest = [(images.clone(), labels) for images, labels in batches.passing(start)]
            assert len(rest) == len(whole) - start
            for (images, labels), (want, wanted) in zip(rest, whole[start:], strict=True):
                assert torch.equal(images, want) and torch.equal(labels, wanted)


def test_only_passing_batches_share_memory() -> None:
    batches = evaluation_batches(DIGITS, None, "cpu", 91)
    assert len({images.data_ptr() for images, _ in list(batches)}) == 4
    assert len({images.data_ptr() for images, _ in batches.passing()}) == 1


def test_a_damaged_picture_stops_the_evaluation(tree: Path) -> None:
    file = tree / "imagenet/val/n00000500/x.png"
    content = file.read_bytes()
    file.write_bytes(content[:60])
    try:
        with pytest.raises(DataError, match="n00000500"):
            list(evaluation_batches(IMAGENET, tree, "cpu", batch_size=10, limit=10))
    finally:
        file.write_bytes(content)


def test_pictures_need_a_crop(tree: Path) -> None:
    with pytest.raises(ProtocolError, match="give `crop`"):
        evaluation_batches(dataclasses.replace(IMAGENET, crop=None), tree, "cpu", 8)
