"""What is published about each data set. Data only; nothing here reads a file.

A fingerprint is the sha256 of the image bytes (uint8, N x C x H x W) followed by the label bytes
(int64, little-endian), so it names the content whatever the file layout. Sets of picture files are
fingerprinted by their list instead: see folder.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Download:
    """One official file. `unpack` is the folder its archive contains; None = not an archive."""

    url: str
    md5: str
    unpack: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """A data set as its authors published it."""

    name: str
    classes: int
    images: Mapping[str, int]  # split -> number of images
    folder: str  # where it belongs below the data root
    page: str  # where a person gets it
    downloads: tuple[Download, ...] = ()
    md5: Mapping[str, str] = field(default_factory=dict)  # official file name -> md5


@dataclass(frozen=True, slots=True)
class Copy:
    """Content recognised by its fingerprint."""

    name: str
    approximate_images: int | None  # None = nobody knows


@dataclass(frozen=True, slots=True)
class CheckableRows:
    """Rows whose official content is known, by elimination, and what they hash to.

    unknown: rows left out. fingerprint: of all other rows, with their labels.
    """

    unknown: tuple[int, ...]
    fingerprint: str


_KRIZ = "https://www.cs.toronto.edu/~kriz/"
_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"  # a mirror by the same names
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_KMNIST = "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"
_FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"


def _idx(base: str, md5: Mapping[str, str]) -> tuple[Download, ...]:
    return tuple(Download(base + name, digest) for name, digest in md5.items())


_MNIST_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
_MNIST_UNPACKED_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_FASHION_MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
_KMNIST_MD5 = {
    "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
    "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
    "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
    "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
}

_ALL = (
    Origin(
        name="cifar10",
        classes=10,
        images={"train": 50_000, "test": 10_000},
        folder="cifar-10-batches-py",
        page=_KRIZ + "cifar.html",
        downloads=(
            Download(
                _KRIZ + "cifar-10-python.tar.gz",
                "c58f30108f718f92721af3b95e74349a",
                unpack="cifar-10-batches-py",
            ),
        ),
        md5={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
    ),
    Origin(
        name="cifar100",
        classes=100,
        images={"train": 50_000, "test": 10_000},
        folder="cifar-100-python",
        page=_KRIZ + "cifar.html",
        downloads=(
            Download(
                _KRIZ + "cifar-100-python.tar.gz",
                "eb9058c3a382ffc7106e4002c42a8d85",
                unpack="cifar-100-python",
            ),
        ),
        md5={
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        },
    ),
    Origin(
        name="mnist",
        classes=10,
        images={"train": 60_000, "test": 10_000},
        folder="MNIST/raw",
        page="https://yann.lecun.com/exdb/mnist/",
        downloads=_idx(_MNIST, _MNIST_MD5),
        md5={**_MNIST_MD5, **_MNIST_UNPACKED_MD5},
    ),
    Origin(
        name="fashion-mnist",
        classes=10,
        images={"train": 60_000, "test": 10_000},
        folder="FashionMNIST/raw",
        page="https://github.com/zalandoresearch/fashion-mnist",
        downloads=_idx(_FASHION, _FASHION_MD5),
        md5=_FASHION_MD5,
    ),
    Origin(
        name="kmnist",
        classes=10,
        images={"train": 60_000, "test": 10_000},
        folder="KMNIST/raw",
        page="https://codh.rois.ac.jp/kmnist/",
        downloads=_idx(_KMNIST, _KMNIST_MD5),
        md5=_KMNIST_MD5,
    ),
    Origin(
        name="flowers102",
        classes=102,
        images={"train": 1_020, "val": 1_020, "test": 6_149},
        folder="flowers-102",
        page=_FLOWERS,
        downloads=(
            Download(_FLOWERS + "102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", unpack="jpg"),
            Download(_FLOWERS + "imagelabels.mat", "e0620be6f572b9609742df49c70aed4d"),
            Download(_FLOWERS + "setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c"),
        ),
    ),
    Origin(
        name="digits",
        classes=10,
        images={"train": 1_433, "test": 364},
        folder="",
        page="https://scikit-learn.org/stable/datasets/toy_dataset.html",
    ),
    Origin(
        name="imagenet",
        classes=1000,
        images={"train": 1_281_167, "val": 50_000},
        folder="imagenet",
        page="https://image-net.org/download-images.php",
    ),
    Origin(
        name="imagenet-sample",
        classes=1000,
        images={"val": 1_000},
        folder="imagenet-sample",
        page="https://github.com/EliSchwartz/imagenet-sample-images",
    ),
)
SETS: Mapping[str, Origin] = {origin.name: origin for origin in _ALL}
STREAMED = ("imagenet", "imagenet-sample")  # too large to hold in memory as one tensor

_DEBIAN = Copy("official content as Debian packages it", 0)
_SKLEARN = Copy("the digits that ship with scikit-learn", 0)
COPIES: Mapping[str, Copy] = {  # by fingerprint
    # CIFAR-10 put together from lossless pieces; JPEG pictures stand in for the rest.
    "e730c2253488d2f14b1d8a29b42bd1b5afa40d144775572d26e1e8724a88f33a": Copy(
        "reassembled copy, 73 approximate train images", 73
    ),
    "23d072a67e402745bbacd08a40c1e9c3587a930413de59138b02be736c60cda1": Copy(
        "reassembled copy, 20 approximate test images", 20
    ),
    # Fashion-MNIST train and test from dataset-fashion-mnist 0.0~git20200523: labels equal those
    # of the authors' repository byte for byte; images are as that repository held them.
    "1f243a60b4b748a44c48b9a6f6907be2a08bee3e4e226f0e86fbde8e147b745a": _DEBIAN,
    "9a494dc49efeb996f4076c469b31cd058152067b1594ba6ab85dd739fce3775e": _DEBIAN,
    "1ed41270facaeb3ae8e295cfd14ee969631c98c4206e9708fe8fcd761433d92d": _SKLEARN,
    "652f6c83bbf431949b614b83e1bd29f6a34945ace388a73f8cd508cea460bc29": _SKLEARN,
    # Short side scaled to 256 and saved anew as JPEG, so no picture has its original pixels.
    "c608d2a526f0b6cd4dc799c6faa888c77faa61d89e5ffd3f9e85249a5d517803": Copy(
        "1,000 sample pictures, one per class, recompressed; not the validation set", None
    ),
}

# The official CIFAR-10 content is not at hand, but the reassembled copy is exact outside these
# rows, so any copy that hashes to the same without them differs from the official one in no others.
CHECKABLE: Mapping[tuple[str, str], CheckableRows] = {
    ("cifar10", "train"): CheckableRows(
        # fmt: off
        (
            4298,
            5949,
            7066,
            7237,
            7248,
            7630,
            8006,
            8831,
            8968,
            9415,
            12762,
            12834,
            13546,
            21493,
            25728,
            26098,
            26927,
            27621,
            28435,
            28728,
            29694,
            29747,
            31066,
            31367,
            31462,
            31625,
            31663,
            32777,
            33641,
            33661,
            34067,
            34276,
            34387,
            34825,
            35160,
            35646,
            36733,
            37329,
            37474,
            37567,
            38384,
            38925,
            39358,
            39385,
            39613,
            39840,
            39888,
            39971,
            41779,
            42004,
            42389,
            42611,
            43357,
            43883,
            44882,
            45168,
            45240,
            46175,
            46435,
            46538,
            46624,
            47393,
            47597,
            48081,
            48124,
            48333,
            48821,
            48836,
            49321,
            49429,
            49631,
            49830,
            49857,
        ),
        # fmt: on
        "f95272a1c06460c785b4234c756b0d7632bb063f0ece34fc605ab170868bb874",
    ),
    ("cifar10", "test"): CheckableRows(
        # fmt: off
        (
            1259,
            1369,
            1422,
            2245,
            2737,
            2935,
            3695,
            3718,
            4085,
            4496,
            5791,
            5896,
            6286,
            7580,
            7707,
            7724,
            7832,
            8117,
            8551,
            9254,
        ),
        # fmt: on
        "fabb9f39eb222b62aa0cd8e2057377415fa5d780e3a7d2a5d9acc30e4b0bdc6a",
    ),
}
