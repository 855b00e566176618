"""What installed packages offer under an entry-point group, without importing any of them."""

from __future__ import annotations


def offered(group: str) -> dict[str, tuple[str, ...]]:
    """Name -> "package.module:attribute"; several where packages claim one name."""
    from importlib.metadata import entry_points  # takes longer to import than many a verb

    found: dict[str, set[str]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, set()).add(point.value)
    return {name: tuple(sorted(targets)) for name, targets in found.items()}
