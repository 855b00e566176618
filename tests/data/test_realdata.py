"""The real sets, recognised for what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from harness.data import evaluation_batches, find_pictures, load
from harness.data.decode_cache import cached
from harness.data.decoders import Transform
from harness.registry import Evaluation
from harness.registry import load as load_registry
from harness.system.progress import Silent

pytestmark = pytest.mark.realdata
Real = Callable[[str], Path]


@pytest.mark.parametrize(("split", "count", "approximate"), [("test", 10_000, 20)])
def test_cifar10_is_recognised_as_the_reassembled_copy(
    real: Real, split: str, count: int, approximate: int
) -> None:
    got = load("cifar10", split, real("cifar-10-batches-py"), download=False)
    assert len(got) == count and got.labels.bincount().tolist() == [count // 10] * 10
    assert got.identity.approximate_images == approximate
    assert got.identity.copy_name == f"reassembled copy, {approximate} approximate {split} images"


@pytest.mark.slow
def test_cifar10_train_is_recognised_as_the_reassembled_copy(real: Real) -> None:
    got = load("cifar10", "train", real("cifar-10-batches-py"), download=False)
    assert got.labels.bincount().tolist() == [5000] * 10
    assert got.identity.approximate_images == 73
    # The means every CIFAR-10 paper normalises with, to their four digits.
    means = (got.images.sum((0, 2, 3)) / (255 * 50_000 * 1024)).tolist()
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=5.1e-5)


@pytest.mark.parametrize(("split", "count"), [("train", 60_000), ("test", 10_000)])
def test_fashion_mnist_is_official(real: Real, split: str, count: int) -> None:
    got = load("fashion-mnist", split, real("FashionMNIST/raw"), download=False)
    assert got.images.shape == (count, 1, 28, 28)
    assert got.labels.bincount().tolist() == [count // 10] * 10
    assert got.identity.approximate_images == 0


@pytest.mark.parametrize(
    ("split", "counts"),
    [
        ("train", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
        ("test", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
    ],
)
def test_mnist_is_official(real: Real, split: str, counts: list[int]) -> None:
    got = load("mnist", split, real("MNIST/raw"), download=False)
    assert got.images.shape == (sum(counts), 1, 28, 28)
    assert got.labels.bincount().tolist() == counts
    assert got.identity.approximate_images == 0 and got.identity.copy_name == "official"


def test_snips_constants_are_those_of_the_training_pictures(real: Real) -> None:
    pixels = load("mnist", "train", real("MNIST/raw"), download=False).images.double() / 255
    protocol = load_registry().evaluations["mnist-snip"]
    assert round(pixels.mean().item(), 7) == protocol.mean[0]
    assert round(pixels.std(correction=0).item(), 7) == protocol.std[0]


def test_caffes_scale_divides_by_256(real: Real) -> None:
    protocol = load_registry().evaluations["mnist-caffe"]
    images, _ = next(iter(evaluation_batches(protocol, real("MNIST/raw"), "cpu", 100)))
    raw = load("mnist", "test", real("MNIST/raw"), download=False).images[:100]
    assert torch.equal(images, raw.float() / 256)


def test_imagenet_sample_has_one_picture_of_each_class(real: Real) -> None:
    root = real("imagenet-sample/val")
    found = find_pictures("imagenet-sample", "val", root)
    assert found.pictures.labels == tuple(range(1000))
    assert found.pictures.classes[0] == "n01440764" and found.pictures.classes[999] == "n15075141"
    assert found.identity.approximate_images is None
    assert "not the validation set" in found.identity.copy_name


def test_imagenet_sample_is_streamed_normalised(real: Real) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    evaluation = Evaluation("s", 1, "imagenet-sample", "val", mean, std, resize=256, crop=224)
    batches = evaluation_batches(evaluation, real("imagenet-sample/val"), "cpu", 32, limit=64)
    images = torch.cat([images for images, _ in batches])
    assert images.shape == (64, 3, 224, 224)
    # Photographs have roughly the mean and spread they are normalised with.
    assert abs(float(images.mean())) < 0.3 and 0.7 < float(images.std()) < 1.4


def test_the_cache_of_the_imagenet_sample_holds_torchvisions_pixels(
    real: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import transforms

    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    found = find_pictures("imagenet-sample", "val", real("imagenet-sample/val"))
    pixels = cached(found, Transform(256, 224), "build", True, Silent())
    assert pixels is not None and pixels.shape == (1000, 3, 224, 224)
    pipeline = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor()]
    )
    for file, held in zip(found.pictures.files, pixels, strict=True):
        assert (pipeline(Image.open(file).convert("RGB")).numpy() == held).all(), file.name
