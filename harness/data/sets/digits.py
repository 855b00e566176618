"""The 8x8 handwritten digits of scikit-learn: the data set that is always there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.registry import KnownCopy, registered

if TYPE_CHECKING:
    from harness.data.layouts.layout import Layout

COPY = KnownCopy("the digits that ship with scikit-learn", 0)


@registered(
    name="digits",
    title="Digits 8x8 (ships with scikit-learn)",
    classes=10,
    channels=1,
    side=8,
    images={"train": 1_433, "test": 364},
    class_names=lambda: tuple("0123456789"),
    page="https://scikit-learn.org/stable/datasets/toy_dataset.html",
    copies={
        "1ed41270facaeb3ae8e295cfd14ee969631c98c4206e9708fe8fcd761433d92d": COPY,
        "652f6c83bbf431949b614b83e1bd29f6a34945ace388a73f8cd508cea460bc29": COPY,
    },
)
def digits() -> Layout:
    from harness.data.layouts.digits_of_sklearn import DigitsOfSklearn

    return DigitsOfSklearn()
