"""Where published files lie: one type per scheme, which parses, fetches and probes."""

from __future__ import annotations

from harness.checkpoints.sources.delivery import deliver, from_user
from harness.checkpoints.sources.drive import Drive
from harness.checkpoints.sources.local import DataFile, LocalFile, ShippedFile
from harness.checkpoints.sources.source import Delivered, Request, Source
from harness.checkpoints.sources.spelling import addresses, in_browser, is_link, label, parse_source
from harness.checkpoints.sources.web import RemoteFile, Web

__all__ = [
    "DataFile",
    "Delivered",
    "Drive",
    "LocalFile",
    "RemoteFile",
    "Request",
    "ShippedFile",
    "Source",
    "Web",
    "addresses",
    "deliver",
    "from_user",
    "in_browser",
    "is_link",
    "label",
    "parse_source",
]
