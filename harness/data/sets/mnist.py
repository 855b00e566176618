"""MNIST (LeCun, Bottou, Bengio and Haffner 1998): handwritten digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.registry import Download, registered

if TYPE_CHECKING:
    from harness.data.layouts.layout import Layout

MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"  # by the same names
PACKED = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
UNPACKED = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@registered(
    name="mnist",
    title="MNIST",
    classes=10,
    channels=1,
    side=28,
    images={"train": 60_000, "test": 10_000},
    class_names=lambda: tuple("0123456789"),
    page="https://yann.lecun.com/exdb/mnist/",
    folder="MNIST/raw",
    downloads=tuple(Download(MIRROR + name, md5) for name, md5 in PACKED.items()),
    md5={**PACKED, **UNPACKED},
)
def mnist() -> Layout:
    from harness.data.layouts.idx import IdxFiles

    return IdxFiles("MNIST/raw")
