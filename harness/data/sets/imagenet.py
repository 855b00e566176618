"""ImageNet as in the challenge of 2012 (Russakovsky et al. 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.registry import registered

if TYPE_CHECKING:
    from harness.data.layouts.class_folders import ClassFolders


def class_names() -> tuple[str, ...]:
    """The thousand classes as torchvision names them, in the order of the class folders."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


@registered(
    name="imagenet",
    title="ImageNet (ILSVRC 2012)",
    classes=1000,
    channels=3,
    side=224,
    images={"train": 1_281_167, "val": 50_000},
    streamed=True,
    class_names=class_names,
    page="https://image-net.org/download-images.php",
    folder="imagenet",
)
def imagenet() -> ClassFolders:
    from harness.data.layouts.class_folders import ClassFolders

    return ClassFolders("imagenet")
