"""Kuzushiji-MNIST (Clanuwat et al. 2018): cursive Japanese in MNIST's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.registry import Download, registered

if TYPE_CHECKING:
    from harness.data.layouts.layout import Layout

MIRROR = "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"
PACKED = {
    "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
    "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
    "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
    "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
}


@registered(
    name="kmnist",
    title="Kuzushiji-MNIST",
    classes=10,
    channels=1,
    side=28,
    images={"train": 60_000, "test": 10_000},
    class_names=lambda: ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    page="https://codh.rois.ac.jp/kmnist/",
    folder="KMNIST/raw",
    downloads=tuple(Download(MIRROR + name, md5) for name, md5 in PACKED.items()),
    md5=PACKED,
)
def kmnist() -> Layout:
    from harness.data.layouts.idx import IdxFiles

    return IdxFiles("KMNIST/raw")
