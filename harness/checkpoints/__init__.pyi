from . import pins
from .conversion import convert
from .converted_files import Obtained
from .downloading import Policy
from .file_formats import check_container
from .local_copies import Status, obtain, status, statuses, stored_copy
from .narrowed import DESCRIPTION, EXTRA, LAYOUT, Origin, is_shrunk, load_shrunk, save_narrowed
from .network import (
    build_model,
    load_model,
    measuring_method,
    model_from,
    obtain_checkpoint,
    obtain_together,
    read_weights,
)
from .sniffing import sniff
from .sources import RemoteFile, Source, addresses, in_browser, is_link, label, parse_source
from .strict_load import load_into

__all__ = [
    "DESCRIPTION",
    "EXTRA",
    "LAYOUT",
    "Obtained",
    "Origin",
    "Policy",
    "RemoteFile",
    "Source",
    "Status",
    "addresses",
    "build_model",
    "check_container",
    "convert",
    "in_browser",
    "is_link",
    "is_shrunk",
    "label",
    "load_into",
    "load_model",
    "load_shrunk",
    "measuring_method",
    "model_from",
    "obtain",
    "obtain_checkpoint",
    "obtain_together",
    "parse_source",
    "pins",
    "read_weights",
    "save_narrowed",
    "sniff",
    "status",
    "statuses",
    "stored_copy",
]
