from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from harness.data.decoding import decode, decode_into, opened, ordered_map, squash
from harness.data.pixels import Normalise
from harness.errors import DataError

FIXTURE = Path(__file__).parents[1] / "fixtures/data/imagenet_val_preprocess.npz"
ATOL_FIXTURE = 2e-2  # stated with the arrays: one grey level, for other Pillow versions

SIZES = [(301, 257), (256, 256), (333, 500), (500, 333), (40, 700), (100, 90), (225, 224), (17, 17)]


def write_picture(path: Path, width: int, height: int) -> Path:
    rng = np.random.default_rng(width * 1000 + height)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8))
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (64, 64), (None, 230), (48, None)])
def test_decoding_is_bit_identical_to_torchvision(
    tmp_path: Path,
    width: int,
    height: int,
    resize: int | None,
    crop: int | None,
    interpolation: str,
) -> None:
    path = write_picture(tmp_path / "x.png", width, height)
    mode = transforms.InterpolationMode(interpolation)
    steps = [transforms.Resize(resize, mode)] if resize else []
    steps += [transforms.CenterCrop(crop)] if crop else []
    reference = transforms.Compose([*steps, transforms.PILToTensor()])
    want = reference(Image.open(path).convert("RGB")).numpy()
    got = decode(path, resize, crop, interpolation)
    assert got.shape == want.shape and (got == want).all()


@given(
    st.integers(1, 130),
    st.integers(1, 130),
    st.integers(1, 64),
    st.integers(1, 64),
    st.sampled_from(["bilinear", "bicubic"]),
)
def test_any_size_is_resized_and_cropped_as_torchvision_does(
    width: int, height: int, resize: int, crop: int, interpolation: str
) -> None:
    mode = transforms.InterpolationMode(interpolation)
    reference = transforms.Compose(
        [transforms.Resize(resize, mode), transforms.CenterCrop(crop), transforms.PILToTensor()]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = write_picture(Path(folder) / "x.bmp", width, height)
        want = reference(Image.open(path)).numpy()
        got = decode(path, resize, crop, interpolation)
        into = np.empty((3, crop, crop), np.uint8)
        decode_into(into, path, resize, crop, interpolation)
    assert got.shape == want.shape and (got == want).all() and (into == want).all()


def test_decoding_gives_the_stored_arrays(tmp_path: Path) -> None:
    stored = np.load(FIXTURE)
    normalise = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for name in ("landscape", "portrait", "small"):
        height, width, a = stored[f"{name}/shape_hw_a"]
        y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
        wave = 127.5 * (1 + np.sin(a * (x * 0.05 + y * 0.031 * (c + 1)) + c))
        Image.fromarray(np.floor(wave).astype(np.uint8)).save(tmp_path / "x.png")
        got = normalise(torch.from_numpy(decode(tmp_path / "x.png", 256, 224)[None]))[0].numpy()
        assert np.abs(got[:, ::8, ::8] - stored[f"{name}/sub"]).max() <= ATOL_FIXTURE
        assert np.abs(got.mean((1, 2)) - stored[f"{name}/mean"]).max() <= ATOL_FIXTURE
        assert np.abs(got.std((1, 2)) - stored[f"{name}/std"]).max() <= ATOL_FIXTURE


def test_squash_gives_up_the_aspect_ratio_as_torchvision_does(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "x.jpg", 70, 41)
    reference = transforms.Compose([transforms.Resize((32, 32)), transforms.PILToTensor()])
    assert (squash(path, 32) == reference(Image.open(path)).numpy()).all()


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "x.tiff"
    Image.new(mode, (8, 8)).save(path)
    assert opened(path).mode == "RGB"


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "cut.jpg", 200, 200)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="cut.jpg: not a readable picture"):
        decode(path, 256, 224)
    path.write_text("<html>")
    with pytest.raises(DataError, match="cut.jpg: not a readable picture"):
        decode(path, 256, 224)


def test_ordered_map_keeps_the_order_whatever_finishes_first() -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(ordered_map(work, range(30), ahead=5)) == [n * n for n in range(30)]


def test_ordered_map_starts_no_more_than_it_may() -> None:
    taken: list[int] = []

    def items() -> object:
        for number in range(100):
            taken.append(number)
            yield number

    stream = ordered_map(lambda n: n, items(), ahead=4)  # type: ignore[arg-type]
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    assert len(taken) == 3 + 4
    stream.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_ordered_map_raises_the_error_in_its_place() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise DataError("third")
        return number

    stream = ordered_map(work, range(10), ahead=8)
    assert [next(stream), next(stream), next(stream)] == [0, 1, 2]
    with pytest.raises(DataError, match="third"):
        next(stream)
