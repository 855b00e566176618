from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits

from harness.data import describe, evaluation_batches, find_pictures, load
from harness.data.layouts import class_folders
from harness.errors import DataError, RegistryError
from harness.registry import (
    Evaluation,
    data_set,
    data_set_facts,
    data_set_names,
    input_shape,
    is_data_set,
)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, harness.data; print(*({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_exported_name_can_be_had() -> None:
    import harness.data

    assert all(getattr(harness.data, name) for name in harness.data.__all__)
    with pytest.raises(AttributeError, match="attribute laod"):
        harness.data.laod  # noqa: B018


def test_digits_are_split_by_class_and_lose_nothing() -> None:
    pixels, labels = load_digits(return_X_y=True)
    train, test = load("digits", "train"), load("digits", "test")
    assert (len(train), len(test)) == (1433, 364)
    assert {train.identity.fingerprint, test.identity.fingerprint} == data_set(
        "digits"
    ).copies.keys()
    for digit in range(10):
        share = int((test.labels == digit).sum()) / int((labels == digit).sum())
        assert abs(share - 0.2) < 0.01
        assert (
            test.images[test.labels == digit][0].flatten().tolist()
            == (pixels[labels == digit][0] * 15).astype(int).tolist()
        )
    both = torch.cat([train.images, test.images]).flatten(1).tolist()
    assert sorted(both) == sorted((pixels * 15).astype(int).tolist())


def test_size_resizes_and_keeps_the_fingerprint() -> None:
    plain, large = load("digits", "test"), load("digits", "test", size=32)
    assert plain.images.shape[-2:] == (8, 8) and large.images.shape[-2:] == (32, 32)
    assert plain.identity == large.identity


def test_take_picks_rows_in_order() -> None:
    whole = load("digits", "test")
    part = whole.take(torch.tensor([5, 2, 5]))
    assert len(part) == 3 and torch.equal(part.images[1], whole.images[2])
    assert part.labels.tolist() == [whole.labels[i].item() for i in (5, 2, 5)]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "kmnist", "flowers102"])
def test_missing_data_names_folder_link_and_variable(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        load(name, "test", tmp_path, download=False)
    for part in (name, str(tmp_path / data_set(name).folder), "http", "BENCH_DATA_ROOT"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert describe(name, tmp_path).text.startswith("missing: downloaded when it is first needed; ")


def test_missing_imagenet_names_its_page_and_the_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"image-net\.org.*<split>/<class>/"):
        find_pictures("imagenet", "val", tmp_path)
    with pytest.raises(DataError, match="too large to load whole"):
        load("imagenet", "val", tmp_path)


@pytest.mark.parametrize(
    ("name", "split", "hint"),
    [("cifar-10", "test", "did you mean 'cifar10'"), ("xyz", "test", "known: cifar10, cifar100"),
     ("cifar10", "val", "it has train, test")],
)  # fmt: skip
def test_unknown_names_and_splits_are_refused(name: str, split: str, hint: str) -> None:
    with pytest.raises(RegistryError, match=hint):
        load(name, split)


def test_every_set_with_a_shape_can_be_described(tmp_path: Path) -> None:
    found = {name: describe(name, tmp_path).found for name in data_set_names()}
    assert {name for name, here in found.items() if here} <= {"digits", "fashion-mnist"}
    assert found["digits"]


NEW_SET = """
from harness.registry import registered

@registered(name="two-tones", title="Two tones", classes=2, channels=1, side=4,
            images={"train": 8, "test": 4}, page="https://example.org/two-tones")
def two_tones():
    import numpy as np
    from harness.data import Arrays

    class Tones:
        def find(self, root):
            return root
        def read(self, about, folder, split, side):
            labels = np.arange(about.images[split]) % 2
            images = np.zeros((len(labels), 1, 4, 4), np.uint8) + labels[:, None, None, None] * 200
            return Arrays(images.astype(np.uint8), labels)
    return Tones()
"""


def test_a_new_data_set_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known, described, loaded and accepted by an evaluation; nothing else is touched."""
    from harness.data import sets

    (tmp_path / "two_tones.py").write_text(NEW_SET)
    monkeypatch.setattr(sets, "__path__", [*sets.__path__, str(tmp_path)])
    data_set_facts._files.cache_clear()
    try:
        assert "two-tones" in data_set_names() and is_data_set("two-tones")
        protocol = Evaluation("two-tones", 1, "two-tones", "test", (0.5,), (0.5,), channels="gray")
        assert input_shape(protocol) == (1, 4, 4)
        assert describe("two-tones", tmp_path).found
        (batch,) = evaluation_batches(protocol, tmp_path, "cpu", batch_size=4)
        assert batch[1].tolist() == [0, 1, 0, 1]
        assert batch[0][1].unique().tolist() == pytest.approx([(200 / 255 - 0.5) / 0.5])
    finally:
        data_set_facts._files.cache_clear()
    assert "two-tones" not in data_set_names()[:9]


def test_names_are_known_without_importing_the_sets() -> None:
    code = (
        "import sys; from harness.registry import is_data_set; assert is_data_set('cifar10');"
        "print([m for m in sys.modules if m.startswith('harness.data.sets.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hidden_files_and_folders_are_neither_pictures_nor_classes(tmp_path: Path) -> None:
    picture(tmp_path / "a/1.png", 0)
    (tmp_path / "a/._1.png").write_bytes(b"what a Mac leaves")
    picture(tmp_path / "b/1.png", 0)
    picture(tmp_path / ".ipynb_checkpoints/1.png", 0)
    listed = class_folders.scan(tmp_path, 2)
    assert [path.name for path in listed.files] == ["1.png", "1.png"]
    assert listed.classes == ("a", "b")


def picture(path: Path, grey: int, size: tuple[int, int] = (20, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path)


def test_a_tree_is_listed_by_class_and_name(tmp_path: Path) -> None:
    for name in ("b/2.JPEG", "b/10.png", "a/z.jpg"):
        picture(tmp_path / name, 0)
    (tmp_path / "b/notes.txt").write_text("no picture")
    (tmp_path / "labels.csv").write_text("no class")
    listed = class_folders.scan(tmp_path, 2)
    assert [str(path.relative_to(tmp_path)) for path in listed.files] == [
        "a/z.jpg", "b/10.png", "b/2.JPEG",
    ]  # fmt: skip
    assert listed.labels == (0, 1, 1) and listed.classes == ("a", "b")


def test_the_list_hash_moves_with_names_sizes_and_labels_only(tmp_path: Path) -> None:
    for root in ("one", "two"):
        picture(tmp_path / root / "a/1.bmp", 0)
        picture(tmp_path / root / "b/1.bmp", 0)
    first, second = class_folders.scan(tmp_path / "one", 2), class_folders.scan(tmp_path / "two", 2)
    assert first.fingerprint == second.fingerprint
    (tmp_path / "two/b/1.bmp").write_bytes(b"shorter")
    assert class_folders.scan(tmp_path / "two", 2).fingerprint != first.fingerprint
    picture(tmp_path / "two/b/1.bmp", 9)
    assert class_folders.scan(tmp_path / "two", 2).fingerprint == first.fingerprint
    (tmp_path / "two/b/1.bmp").rename(tmp_path / "two/b/2.bmp")
    assert class_folders.scan(tmp_path / "two", 2).fingerprint != first.fingerprint
    assert class_folders.list_hash(first.files, (0, 0)) != first.fingerprint


def test_missing_or_empty_class_folders_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a/1.png", 0)
    with pytest.raises(DataError, match="1 class folders, expected 2"):
        class_folders.scan(tmp_path, 2)
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="b: no picture"):
        class_folders.scan(tmp_path, 2)


def test_an_incomplete_imagenet_is_an_unknown_copy(tmp_path: Path) -> None:
    for label in range(1000):
        folder_of_class = tmp_path / f"imagenet/val/n{label:08d}"
        folder_of_class.mkdir(parents=True)
        (folder_of_class / "x.JPEG").write_bytes(b"")
    found = find_pictures("imagenet", "val", tmp_path)
    assert found.identity.approximate_images is None
    assert "1000 pictures, expected 50000" in found.identity.copy_name
    assert str(tmp_path / "imagenet/val") in describe("imagenet", tmp_path).text


def official_flowers(root: Path) -> None:
    """Nine pictures, number i of grey level 20 i; three per split."""
    place = root / "flowers-102"
    for number in range(1, 10):
        picture(place / f"jpg/image_{number:05d}.jpg", 20 * number)
    savemat(place / "imagelabels.mat", {"labels": np.arange(9, 0, -1)[None]})
    splits = {"trnid": [[9, 1, 5]], "valid": [[2, 4, 6]], "tstid": [[3, 7, 8]]}
    savemat(place / "setid.mat", splits)


def test_official_flowers_follow_their_split_files(tmp_path: Path) -> None:
    official_flowers(tmp_path)
    got = load("flowers102", "train", tmp_path)
    assert got.images.shape == (3, 3, 32, 32)
    assert got.labels.tolist() == [0, 8, 4]  # the file counts from 1
    levels = got.images.float().mean((1, 2, 3)).tolist()
    assert levels == pytest.approx([180, 20, 100], abs=2)  # JPEG
    assert load("flowers102", "test", tmp_path, size=48).images.shape == (3, 3, 48, 48)
    assert got.identity.approximate_images is None
    (tmp_path / "flowers-102/jpg/image_00005.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 3 pictures missing, first image_00005\.jpg"):
        load("flowers102", "train", tmp_path)


def test_flowers_in_class_folders_have_a_split_of_their_own(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in range(102):
            picture(tmp_path / f"flowers/images/{split}/{label:03d}/1.png", label)
    got = load("flowers102", "test", tmp_path)
    assert got.labels.tolist() == list(range(102))
    assert got.images[:, 0, 0, 0].tolist() == list(range(102))
    assert got.identity.copy_name == "class folders with a split of their own"
    with pytest.raises(DataError, match="no split 'val'"):
        load("flowers102", "val", tmp_path)
