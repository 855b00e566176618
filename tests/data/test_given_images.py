"""`harness.Images`: what loaders give becomes a data set, or one line says why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from harness.data import Images, evaluation_batches, load
from harness.errors import DataError, RegistryError, StateWarning
from harness.registry import data_set, read_own
from harness.registry import load as load_registry

PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 3, 5, 5), dtype="u1"))
LABELS = torch.arange(12) % 3


def loader(images: torch.Tensor, labels: torch.Tensor = LABELS, **how: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(images, labels), batch_size=5, **how)


def normalised(mean: float = 0.4, std: float = 0.3) -> torch.Tensor:
    """As torchvision's ToTensor and Normalize give them."""
    return (PIXELS.float() / 255 - mean) / std


@pytest.fixture(autouse=True)
def _home(home: Path) -> Path:
    return home


def test_pixels_are_taken_back_to_what_they_were_made_of() -> None:
    name = Images(
        "mine", 3, loader(normalised()), mean=[0.4, 0.4, 0.4], std=[0.3, 0.3, 0.3]
    ).known_as()
    found = load(name, "test")
    assert torch.equal(found.images, PIXELS) and torch.equal(found.labels, LABELS)
    assert found.identity.copy_name == "as its package reads it"


def test_a_network_sees_what_the_loader_gives() -> None:
    for given, more in (
        (PIXELS.float() / 255, {}),
        (normalised(), {"mean": [0.4] * 3, "std": [0.3] * 3}),
    ):
        Images("seen", 3, loader(given), **more).known_as()
        evaluation = load_registry().evaluations["seen"]
        (batch,) = evaluation_batches(evaluation, None, "cpu", 12)
        torch.testing.assert_close(batch[0], given, rtol=0, atol=1e-6)


def test_statistics_of_uint8_are_those_of_the_training_images() -> None:
    gray = PIXELS[:, 0]  # (B, H, W)
    Images("gray", 3, loader(gray[:4], LABELS[:4]), loader(gray)).known_as()
    scaled = gray.numpy() / 255
    kept = read_own("gray").evaluation
    assert kept.mean == pytest.approx((scaled.mean(),), rel=1e-5)
    assert kept.std == pytest.approx((scaled.std(),), rel=1e-5)
    about = data_set("gray")
    assert (about.channels, about.side, about.images) == (1, 5, {"train": 12, "test": 4})


def test_a_loader_that_shuffles_gives_the_same_set_and_other_pixels_the_next_version() -> None:
    def keep(train: torch.Tensor, seed: int) -> int:
        torch.manual_seed(seed)
        shuffled = loader(train, shuffle=True)
        Images("turns", 3, loader(PIXELS), shuffled).known_as()
        return read_own("turns").evaluation.version

    assert [keep(PIXELS, 0), keep(PIXELS, 1), keep(PIXELS.flip(3), 2), keep(PIXELS.flip(3), 3)] == [
        *(1, 1),
        *(2, 2),
    ]
    Images("turns", 3, loader(PIXELS), loader(PIXELS.flip(3)), (0.5,) * 3, (0.5,) * 3).known_as()
    assert read_own("turns").evaluation.version == 3


def test_anything_that_gives_batches_will_do() -> None:
    class Numpy:
        def __iter__(self) -> Iterator[tuple[np.ndarray, list[int]]]:
            yield PIXELS.numpy(), LABELS.tolist()

    Images("numpy", 3, Numpy(), Numpy()).known_as()
    assert torch.equal(load("numpy", "test").images, PIXELS)


def test_in_another_process_the_set_is_known_and_its_images_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Images("gone", 3, loader(PIXELS), loader(PIXELS)).known_as()
    monkeypatch.setattr("harness.registry.data_set_facts._MADE_KNOWN", {})
    assert data_set("gone").classes == 3
    with pytest.raises(DataError, match="gone: not found below .*; run the script that gives"):
        load("gone", "test")


UINT8 = loader(PIXELS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Images("mine", 3, UINT8), "no training images to measure on.*State mean and std"),
        (Images("mine", 2, UINT8, UINT8), "labels reach from 0 to 2, expected 0 to 1. Correct the"),
        (Images("mine", 3, []), "mine test: the loader gives no batch"),
        (Images("mine", 3, TensorDataset(PIXELS, LABELS)), r"targets \(\).*Is it a DataLoader"),
        (Images("mine", 3, [PIXELS]), "gives Tensor, not .images, targets."),
        (Images("mine", 3, loader(normalised())), "is no pixel of 0..255.*State the"),
        (Images("mine", 3, loader(PIXELS.float() * float("nan"))), "nan is no pixel"),
        (
            Images("mine", 3, loader(PIXELS.int())),
            "images are torch.int32; expected uint8 or float",
        ),
        (Images("mine", 3, UINT8, loader(PIXELS / 255)), "one of train and test gives floats"),
        (Images("mine", 3, UINT8, UINT8, (0.5,), (0.5,)), "1 values of mean for 3 channels"),
        (Images("mine", 3, UINT8, UINT8, mean=(0.5,) * 3), "mean and std belong together"),
        (
            Images("mine", 3, loader(PIXELS[:, :, :4]), UINT8),
            "3 channels, 4 x 5 pixels",
        ),
        (Images("mine", 3, loader(PIXELS[:, :2]), UINT8), "of 2 channels, 5 x 5"),
        (Images("mine", 3, loader(PIXELS, LABELS / 1.0), UINT8), "labels are float32"),
        (Images("Mine!", 3, UINT8), "'Mine!' cannot be the name of a data set"),
        (Images("mine", 3, [("a", "b")]), "gives str, of which no tensor can be made"),
        (Images("mine", 1, UINT8, UINT8), "1 classes; a classifier needs two"),
        (Images("mine", 3, UINT8, loader(PIXELS[..., :4, :4])), "train: images are 4 x 4 pixels"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(given: Images, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        given.known_as()
    assert "\n" not in str(caught.value)


def test_names_of_other_data_sets_are_refused() -> None:
    with pytest.raises(RegistryError, match="data set 'cifar10' is known already.*my-cifar10"):
        Images("cifar10", 3, UINT8, UINT8).known_as()


def test_a_damaged_protocol_is_made_anew(home: Path) -> None:
    Images("again", 3, UINT8, UINT8).known_as()
    (home / "datasets" / "again.json").write_text("{")
    with pytest.warns(StateWarning, match="left out: again.json"):
        Images("again", 3, UINT8, UINT8).known_as()
    assert read_own("again").evaluation.version == 1
