"""Where published files lie: one type per scheme, which parses, fetches and probes."""

from __future__ import annotations

from harness.checkpoints.sources.delivery import deliver, from_user
from harness.checkpoints.sources.drive import Drive
from harness.checkpoints.sources.hub import Hub
from harness.checkpoints.sources.local import DataFile, LocalFile, ShippedFile
from harness.checkpoints.sources.source import Delivered, Request, Source
from harness.checkpoints.sources.spelling import addresses, in_browser, is_link, label, parse_source
from harness.checkpoints.sources.web import RemoteFile, Web
from harness.checkpoints.sources.zenodo import Zenodo

__all__ = [
    "DataFile",
    "Delivered",
    "Drive",
    "Hub",
    "LocalFile",
    "RemoteFile",
    "Request",
    "ShippedFile",
    "Source",
    "Web",
    "Zenodo",
    "addresses",
    "deliver",
    "from_user",
    "in_browser",
    "is_link",
    "label",
    "parse_source",
]
