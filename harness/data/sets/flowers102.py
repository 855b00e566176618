"""Flowers-102 (Nilsback and Zisserman 2008): British flowers of 102 kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.registry import Download, registered

if TYPE_CHECKING:
    from harness.data.layouts.layout import Layout

PAGE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"


@registered(
    name="flowers102",
    title="Flowers-102",
    classes=102,
    channels=3,
    side=224,
    images={"train": 1_020, "val": 1_020, "test": 6_149},
    page=PAGE,
    folder="flowers-102",
    downloads=(
        Download(PAGE + "102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", unpack="jpg"),
        Download(PAGE + "imagelabels.mat", "e0620be6f572b9609742df49c70aed4d"),
        Download(PAGE + "setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c"),
    ),
)
def flowers102() -> Layout:
    from harness.data.layouts.flowers import FlowersFiles

    return FlowersFiles()
