"""No pruning: the baseline every other method is compared with."""

from __future__ import annotations

from typing import ClassVar

from methods.base import Method


class Dense(Method):
    """Train the network as it is."""

    name: ClassVar[str] = "dense"
