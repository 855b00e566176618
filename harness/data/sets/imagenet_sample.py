"""One freely available picture of each ImageNet class: for smoke runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.data.sets.imagenet import class_names
from harness.registry import KnownCopy, registered

if TYPE_CHECKING:
    from harness.data.layouts.class_folders import ClassFolders


@registered(
    name="imagenet-sample",
    title="ImageNet sample, 1,000 pictures",
    classes=1000,
    channels=3,
    side=224,
    images={"val": 1_000},
    streamed=True,
    stand_in="1,000 sample pictures, not the validation set",
    class_names=class_names,
    page="https://github.com/EliSchwartz/imagenet-sample-images",
    folder="imagenet-sample",
    copies={
        # Short side scaled to 256 and saved anew as JPEG, so no picture has its original pixels.
        "c608d2a526f0b6cd4dc799c6faa888c77faa61d89e5ffd3f9e85249a5d517803": KnownCopy(
            "1,000 sample pictures, one per class, recompressed; not the validation set", None
        ),
    },
)
def imagenet_sample() -> ClassFolders:
    from harness.data.layouts.class_folders import ClassFolders

    return ClassFolders("imagenet-sample")
