"""Which images a number belongs to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIdentity:
    """One split of a data set, named by content.

    fingerprint: sha256 hex of the content as stored, whatever size or rows were asked for.
    copy_name: which copy of the set this is, in words. n_total: images in the split.
    approximate_images: how many of them may differ from the official ones; None = nobody knows.
    """

    dataset: str
    split: str
    fingerprint: str
    copy_name: str
    n_total: int
    approximate_images: int | None = 0
