"""Names and values of the registry that only other libraries know: networks, methods' settings.

Reading the registry checks everything that needs nothing heavy; this asks torchvision and timm for
networks, and every method for its settings. Nothing is built.
"""

from __future__ import annotations

import methods
from harness.errors import RegistryError, SettingsError
from harness.models import input_size
from harness.registry import Registry, make_method


def require_known_names(registry: Registry) -> None:
    """Raises RegistryError naming the first entry whose network, setting or value is unknown."""
    _require_networks(registry)
    _require_settings(registry)


def _require_networks(registry: Registry) -> None:
    known: set[str] = set()
    for entry in registry.entries.values():
        if entry.model in known:
            continue
        try:
            input_size(entry.model)
        except RegistryError as error:
            raise RegistryError(f"{entry.id}: {error}") from error
        known.add(entry.model)


def _require_settings(registry: Registry) -> None:
    ours = set(methods.names())
    for entry in registry.entries.values():
        if entry.method not in ours:  # of others: we only evaluate their files
            continue
        try:
            make_method(entry.method, registry.settings_of(entry))
        except SettingsError as error:
            where = f" or of its recipe {entry.recipe}" if entry.recipe else ""
            raise RegistryError(f"{entry.id}: settings of the entry{where}: {error}") from error
