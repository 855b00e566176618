"""CIFAR-100 (Krizhevsky 2009): CIFAR-10's sister with a hundred classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.registry import Download, registered

if TYPE_CHECKING:
    from harness.data.layouts.layout import Layout

CLASSES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus "
    "butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch "
    "crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo "
    "keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain "
    "mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain "
    "plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone "
    "television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)


@registered(
    name="cifar100",
    title="CIFAR-100",
    classes=100,
    channels=3,
    side=32,
    images={"train": 50_000, "test": 10_000},
    class_names=lambda: tuple(CLASSES.split()),
    page="https://www.cs.toronto.edu/~kriz/cifar.html",
    folder="cifar-100-python",
    downloads=(
        Download(
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "eb9058c3a382ffc7106e4002c42a8d85",
            unpack="cifar-100-python",
        ),
    ),
    md5={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    },
)
def cifar100() -> Layout:
    from harness.data.layouts.cifar import CifarFiles

    return CifarFiles(
        folders=("cifar-100-python", "cifar-100-binary"),
        files={"train": ("train",), "test": ("test",)},
        label_key="fine_labels",
        label_bytes=2,
    )
