"""Small generated pictures in class folders, and what torchvision makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from harness.data import ImageIdentity
from harness.data.decoders import Transform
from harness.data.layouts import class_folders

if TYPE_CHECKING:
    from harness.data.find_and_load import PictureSet

CLASSES = 4
# (width, height, mode, file name): odd sizes, both orientations, every mode of ImageNet and more.
KINDS = (
    (41, 57, "RGB", "portrait.jpg"),
    (57, 41, "RGB", "landscape.jpg"),
    (40, 40, "RGB", "square.jpg"),
    (33, 61, "L", "gray.jpg"),
    (61, 33, "CMYK", "cmyk.jpg"),
    (39, 45, "P", "palette.png"),
    (45, 39, "RGBA", "transparent.png"),
    (1, 9, "RGB", "one-wide.png"),
    (9, 1, "RGB", "one-high.png"),
    (16, 24, "RGB", "as-large-as-wanted.png"),
)


def write_picture(path: Path, width: int, height: int, mode: str = "RGB") -> Path:
    rng = np.random.default_rng(width * 1000 + height)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
    picture = coarse.resize((width, height), Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.convert(mode).save(path)
    return path


def picture_tree(root: Path, count: int, side: int = 20) -> PictureSet:
    """`count` RGB pictures of many shapes, spread over CLASSES folders."""
    for number in range(count):
        name = root / f"class-{number % CLASSES}" / f"{number:04d}.png"
        write_picture(name, side + number % 7, side + number % 5)
    return picture_set(root)


def picture_set(root: Path) -> PictureSet:
    from harness.data.find_and_load import PictureSet

    found = class_folders.scan(root, CLASSES)
    identity = ImageIdentity(
        dataset="made-up",
        split="val",
        fingerprint=found.fingerprint,
        copy_name="made up",
        n_total=len(found.files),
        approximate_images=None,
    )
    return PictureSet(identity, found)


def by_torchvision(files: tuple[Path, ...], transform: Transform) -> np.ndarray:
    """uint8 (N, 3, crop, crop) by torchvision's own transforms on Pillow images."""
    from torchvision import transforms

    mode = transforms.InterpolationMode(transform.interpolation)
    steps = [transforms.Resize(transform.resize, mode)] if transform.resize else []
    pipeline = transforms.Compose(
        [*steps, transforms.CenterCrop(transform.crop), transforms.PILToTensor()]
    )
    return np.stack([pipeline(Image.open(file).convert("RGB")).numpy() for file in files])
