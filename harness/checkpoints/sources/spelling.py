"""The text of a source in the registry, to the type of its scheme."""

from __future__ import annotations

from harness.checkpoints.sources.drive import Drive
from harness.checkpoints.sources.hub import Hub
from harness.checkpoints.sources.local import DataFile, ShippedFile
from harness.checkpoints.sources.source import Source
from harness.checkpoints.sources.web import RemoteFile, Web
from harness.checkpoints.sources.zenodo import Zenodo
from harness.errors import RegistryError
from harness.registry import Registry
from harness.results import Kind

SCHEMES: tuple[type[Source], ...] = (Web, Hub, Zenodo, Drive, DataFile, ShippedFile)


def parse_source(text: str) -> Source:
    """The source that `text` names. Raises RegistryError for an unknown scheme."""
    for scheme in SCHEMES:
        if text.startswith(scheme.prefixes):
            return scheme(text)
    known = ", ".join(prefix for scheme in SCHEMES for prefix in scheme.prefixes)
    raise RegistryError(f"checkpoint source {text!r} has no known scheme; known: {known}.")


def label(text: str) -> str:
    """How a source is called in messages: host names only, no whole URLs."""
    return parse_source(text).label


def is_link(text: str) -> bool:
    """Whether a source lies on another host."""
    return isinstance(parse_source(text), RemoteFile)


def in_browser(text: str) -> str:
    """What a browser opens; of a file that is here, the text itself."""
    source = parse_source(text)
    return source.address if isinstance(source, RemoteFile) else text


def addresses(registry: Registry) -> dict[str, Kind]:
    """Every address of the registry: pages of papers and code, files of checkpoints."""
    found: dict[str, Kind] = {}
    for paper in registry.papers.values():
        for page in (paper.url, paper.code):
            if page and page.startswith(Web.prefixes):
                found[page] = "page"
    for entry in registry.entries.values():
        for source in entry.checkpoint.sources if entry.checkpoint else ():
            if is_link(source):
                found[source] = "file"
    return found
