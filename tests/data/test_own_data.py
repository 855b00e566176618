"""Folders of one's own: what is measured, kept, split, and refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data import Stated, data_set_name, describe, evaluation_batches, find_pictures
from harness.errors import DataError, StateWarning
from harness.registry import Evaluation, data_set, data_set_names, input_shape, load, read_own


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def picture(path: Path, seed: int, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels, mode).save(path)


def pictures(root: Path, splits: str = "train val", per_class: int = 3, **how: object) -> Path:
    number = 0
    for split in splits.split():
        for name in ("ant", "bee", "cow"):
            for i in range(per_class):
                number += 1
                picture(root / split / name / f"{i}.png", number, **how)  # type: ignore[arg-type]
    return root


def test_a_folder_becomes_a_data_set_with_a_measured_protocol(tmp_path: Path) -> None:
    root = pictures(tmp_path / "My Pets", size=(10, 10))
    heard: list[str] = []
    name = data_set_name(f"folder:{root}", note=heard.append)
    assert name == "folder-my-pets" and name in data_set_names()
    about, protocol = data_set(name), load().evaluations[name]
    assert (about.classes, about.channels, about.images) == (3, 3, {"train": 9, "val": 9})
    assert (protocol.split, protocol.resize, protocol.crop, protocol.version) == ("val", 10, 10, 1)
    train = np.stack([np.asarray(Image.open(f)) / 255 for f in sorted(root.glob("train/*/*"))])
    assert protocol.mean == pytest.approx(train.mean((0, 1, 2)), rel=1e-5)
    assert protocol.std == pytest.approx(train.std((0, 1, 2)), rel=1e-5)
    assert input_shape(protocol) == (3, 10, 10)
    assert load().defaults[name].recipe == "standard-pictures"
    assert heard and "3 classes, 9 train and 9 val images" in heard[0]
    assert describe(name).found
    (images, labels), *_ = evaluation_batches(protocol, None, "cpu", batch_size=9)
    assert images.shape == (9, 3, 10, 10) and labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3


def test_what_was_measured_is_kept_and_measured_anew_only_for_other_pictures(
    tmp_path: Path, home: Path
) -> None:
    root = pictures(tmp_path / "pets")
    name = data_set_name(f"folder:{root}")
    file = home / "datasets" / f"{name}.json"
    before = file.stat().st_mtime_ns
    assert data_set_name(f"folder:{root}/") == name and file.stat().st_mtime_ns == before
    picture(root / "train/ant/new.png", 99)
    with pytest.raises(DataError, match=r"changed since.*folder:"):
        find_pictures(name, "train")
    assert data_set_name(f"folder:{root}") == name
    assert read_own(name).evaluation.version == 2
    assert find_pictures(name, "train").identity.copy_name == "own pictures"


def test_two_folders_of_one_name_are_two_data_sets(tmp_path: Path) -> None:
    first = data_set_name(f"folder:{pictures(tmp_path / 'a' / 'pets')}")
    second = data_set_name(f"folder:{pictures(tmp_path / 'b' / 'pets', per_class=2)}")
    assert (first, second) == ("folder-pets", "folder-pets-2")


def test_gray_pictures_of_several_sizes_have_one_channel_and_the_middle_size(
    tmp_path: Path,
) -> None:
    root = pictures(tmp_path / "gray", mode="L", size=(20, 16))
    picture(root / "train/ant/large.png", 7, size=(90, 80), mode="L")
    protocol = load_protocol(root)
    assert (protocol.channels, len(protocol.mean)) == ("gray", 1)
    assert (protocol.resize, protocol.crop) == (16, 16)
    assert input_shape(protocol) == (1, 16, 16)
    (images, _), *_ = evaluation_batches(protocol, None, "cpu", batch_size=4)
    assert images.shape == (4, 1, 16, 16)


def test_large_pictures_are_prepared_as_imagenet_is(tmp_path: Path) -> None:
    protocol = load_protocol(pictures(tmp_path / "large", per_class=1, size=(300, 240)))
    assert (protocol.resize, protocol.crop) == (256, 224)


def test_a_test_folder_is_what_is_measured_on(tmp_path: Path) -> None:
    root = pictures(tmp_path / "three", splits="train val test")
    assert load_protocol(root).split == "test"


def load_protocol(root: Path) -> Evaluation:
    name = data_set_name(f"folder:{root}")
    return load().evaluations[name]


def test_one_folder_is_split_by_class_without_loss_and_always_the_same(tmp_path: Path) -> None:
    root = pictures(tmp_path / "one", splits=".", per_class=10)
    name = data_set_name(f"folder:{root}", 0.7)
    parts = [find_pictures(name, split).pictures for split in ("train", "val")]
    assert [part.labels.count(label) for part in parts for label in range(3)] == [7] * 3 + [3] * 3
    files = [{str(path) for path in part.files} for part in parts]
    assert not files[0] & files[1] and len(files[0] | files[1]) == 30
    assert sorted(path.name for path in parts[0].files[:7]) != [f"{i}.png" for i in range(7)]
    assert data_set_name(f"folder:{root}") == name  # the share is kept, too
    assert find_pictures(name, "val").pictures == parts[1]


def _empty(root: Path) -> None:
    root.mkdir()


def _one_class(root: Path) -> None:
    for split in ("train", "val"):
        picture(root / split / "ant/1.png", 1)


def _without_pictures(root: Path) -> None:
    pictures(root)
    (root / "train/dog").mkdir()
    picture(root / "val/dog/1.png", 1)


def _other_classes(root: Path) -> None:
    pictures(root)
    (root / "val/cow").rename(root / "val/dog")


def _unreadable(root: Path) -> None:
    pictures(root)
    (root / "train/ant/0.png").write_bytes(b"no picture")


def _no_val(root: Path) -> None:
    pictures(root, splits="train")


def _no_split(root: Path) -> None:
    pictures(root, splits=".")


def _single(root: Path) -> None:
    pictures(root, splits=".", per_class=1)


BAD = {
    "not there": (lambda root: None, None, "does not exist"),
    "a file": (lambda root: root.write_text("x"), None, "is not a folder"),
    "empty": (_empty, 0.9, "no class folders; a classifier needs two"),
    "one class": (_one_class, None, "one class folder, ant"),
    "class without pictures": (_without_pictures, None, "dog: no picture"),
    "other classes": (_other_classes, None, "val lacks cow and has dog, unlike train/"),
    "unreadable": (_unreadable, None, r"0\.png: not a readable picture"),
    "nothing to measure on": (_no_val, None, "--split 0.9"),
    "no share": (_no_split, None, "3 class folders.*--split 0.9"),
    "one picture": (_single, 0.5, "one picture cannot be both"),
    "split twice": (pictures, 0.9, "leave --split out"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_is_one_line_and_leaves_nothing(tmp_path: Path, home: Path, case: str) -> None:
    make, frac, reason = BAD[case]
    make(tmp_path / "bad")  # type: ignore[operator]
    with pytest.raises(DataError, match=reason) as caught:
        data_set_name(f"folder:{tmp_path / 'bad'}", frac)
    assert "\n" not in str(caught.value) and str(tmp_path / "bad") in str(caught.value)
    assert list(home.glob("datasets/*")) == []


def test_a_damaged_record_is_one_line_that_says_what_to_do(tmp_path: Path, home: Path) -> None:
    name = data_set_name(f"folder:{pictures(tmp_path / 'pets')}")
    (home / "datasets" / f"{name}.json").write_text("{")
    with pytest.warns(StateWarning, match="left out: .*Name its pictures again"):
        assert name not in load().evaluations
        assert data_set_name(f"folder:{tmp_path / 'pets'}") == name  # made anew
    assert name in load().evaluations


def test_a_split_belongs_to_a_folder() -> None:
    with pytest.raises(DataError, match=r"--split is for folder:PATH"):
        data_set_name("cifar10", 0.9)


def test_what_the_user_states_is_kept_beside_what_is_measured(tmp_path: Path) -> None:
    folder = f"folder:{pictures(tmp_path / 'pets')}"
    measured = read_own(data_set_name(folder)).evaluation
    stated = Stated(size=8, mean=(0.1, 0.2, 0.3))
    name = data_set_name(folder, stated=stated)
    about = read_own(name)
    assert about.stated == ("size", "mean") and about.side == 8
    said = about.evaluation
    assert (said.resize, said.crop, said.mean, said.version) == (8, 8, (0.1, 0.2, 0.3), 2)
    assert said.std != measured.std and "size, mean stated" in said.note
    assert data_set_name(folder) == name and read_own(name).evaluation == said  # it is kept
    data_set_name(folder, stated=stated)
    assert read_own(name).evaluation.version == 2
    with pytest.raises(DataError, match="--std has 1 values; the pictures are coloured"):
        data_set_name(folder, stated=Stated(std=(0.5,)))
    with pytest.raises(DataError, match="--image-size is for folder:PATH; the protocol of 'cif"):
        data_set_name("cifar10", stated=stated)
