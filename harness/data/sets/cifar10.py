"""CIFAR-10 (Krizhevsky 2009): 60,000 colour pictures of ten kinds of things."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.registry import CheckableRows, Download, KnownCopy, registered

if TYPE_CHECKING:
    from harness.data.layouts.layout import Layout

# fmt: off
UNKNOWN_TRAIN = (
    4298, 5949, 7066, 7237, 7248, 7630, 8006, 8831, 8968, 9415, 12762, 12834, 13546, 21493,
    25728, 26098, 26927, 27621, 28435, 28728, 29694, 29747, 31066, 31367, 31462, 31625, 31663,
    32777, 33641, 33661, 34067, 34276, 34387, 34825, 35160, 35646, 36733, 37329, 37474, 37567,
    38384, 38925, 39358, 39385, 39613, 39840, 39888, 39971, 41779, 42004, 42389, 42611, 43357,
    43883, 44882, 45168, 45240, 46175, 46435, 46538, 46624, 47393, 47597, 48081, 48124, 48333,
    48821, 48836, 49321, 49429, 49631, 49830, 49857,
)
UNKNOWN_TEST = (
    1259, 1369, 1422, 2245, 2737, 2935, 3695, 3718, 4085, 4496, 5791, 5896, 6286, 7580, 7707,
    7724, 7832, 8117, 8551, 9254,
)
# fmt: on

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"


@registered(
    name="cifar10",
    title="CIFAR-10",
    classes=10,
    channels=3,
    side=32,
    images={"train": 50_000, "test": 10_000},
    class_names=lambda: tuple(CLASSES.split()),
    page="https://www.cs.toronto.edu/~kriz/cifar.html",
    folder="cifar-10-batches-py",
    downloads=(
        Download(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
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
    copies={
        # Put together from lossless pieces; JPEG pictures stand in for the rest.
        "e730c2253488d2f14b1d8a29b42bd1b5afa40d144775572d26e1e8724a88f33a": KnownCopy(
            "reassembled copy, 73 approximate train images", 73
        ),
        "23d072a67e402745bbacd08a40c1e9c3587a930413de59138b02be736c60cda1": KnownCopy(
            "reassembled copy, 20 approximate test images", 20
        ),
    },
    # The official content is not at hand, but the reassembled copy is exact outside these rows,
    # so any copy that hashes to the same without them differs from the official one in no others.
    checkable={
        "train": CheckableRows(
            UNKNOWN_TRAIN, "f95272a1c06460c785b4234c756b0d7632bb063f0ece34fc605ab170868bb874"
        ),
        "test": CheckableRows(
            UNKNOWN_TEST, "fabb9f39eb222b62aa0cd8e2057377415fa5d780e3a7d2a5d9acc30e4b0bdc6a"
        ),
    },
)
def cifar10() -> Layout:
    from harness.data.layouts.cifar import CifarFiles

    return CifarFiles(
        folders=("cifar-10-batches-py", "cifar-10-batches-bin"),
        files={
            "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
            "test": ("test_batch",),
        },
        label_key="labels",
        label_bytes=1,
    )
