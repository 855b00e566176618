from . import provenance
from .distributed import (
    agreed,
    gather_interleaved,
    processes,
    rank,
    refuse_differences,
    replicate,
    share_buffers,
    sum_over_processes,
    wait_for_all,
    world_size,
)
from .files import publish, remove_leftovers, replace_file, replace_text, replacing
from .hashes import sha256_file
from .locks import locked, working_process
from .numbers import finite, read_json, real_number, whole_number
from .options import CachePolicy, Options, Reading
from .packages import offered
from .precision import fast_precision, verdict_precision
from .progress import Progress, Silent
from .provenance import broken_pair, sha256_json, versions
from .sealed import read_sealed, write_sealed
from .shared_store import SharedStore

__all__ = [
    "offered",
    "CachePolicy",
    "Options",
    "Progress",
    "Reading",
    "SharedStore",
    "Silent",
    "agreed",
    "broken_pair",
    "fast_precision",
    "finite",
    "gather_interleaved",
    "locked",
    "processes",
    "provenance",
    "publish",
    "rank",
    "read_json",
    "read_sealed",
    "real_number",
    "refuse_differences",
    "remove_leftovers",
    "replace_file",
    "replace_text",
    "replacing",
    "replicate",
    "sha256_file",
    "sha256_json",
    "share_buffers",
    "sum_over_processes",
    "verdict_precision",
    "versions",
    "wait_for_all",
    "whole_number",
    "working_process",
    "write_sealed",
    "world_size",
]
