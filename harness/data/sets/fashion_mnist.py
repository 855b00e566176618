"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): clothes in MNIST's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.registry import Download, KnownCopy, registered

if TYPE_CHECKING:
    from harness.data.layouts.layout import Layout

MIRROR = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
PACKED = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
COPY = KnownCopy("official content as Debian packages it", 0)

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@registered(
    name="fashion-mnist",
    title="Fashion-MNIST",
    classes=10,
    channels=1,
    side=28,
    images={"train": 60_000, "test": 10_000},
    class_names=lambda: CLASSES,
    page="https://github.com/zalandoresearch/fashion-mnist",
    folder="FashionMNIST/raw",
    downloads=tuple(Download(MIRROR + name, md5) for name, md5 in PACKED.items()),
    md5=PACKED,
    copies={
        # dataset-fashion-mnist 0.0~git20200523: labels equal those of the authors' repository byte
        # for byte; images are as that repository held them.
        "1f243a60b4b748a44c48b9a6f6907be2a08bee3e4e226f0e86fbde8e147b745a": COPY,
        "9a494dc49efeb996f4076c469b31cd058152067b1594ba6ab85dd739fce3775e": COPY,
    },
)
def fashion_mnist() -> Layout:
    from harness.data.layouts.idx import IdxFiles

    # The second one is where the Debian package dataset-fashion-mnist installs its files.
    return IdxFiles("FashionMNIST/raw", "/usr/share/datasets/fashion-mnist")
