from . import accepted, new_entry, nightly_report, published_files
from .doctor import Finding, examine
from .link_check import Manners, fetch, probe
from .new_entry import Draft, evaluations_on, file_facts, suggested_id
from .nightly import Night, nightly_check
from .pinning import Locked, lock
from .recomputed_facts import recompute

__all__ = [
    "Draft",
    "Finding",
    "Locked",
    "Manners",
    "Night",
    "accepted",
    "evaluations_on",
    "examine",
    "fetch",
    "file_facts",
    "lock",
    "new_entry",
    "nightly_report",
    "probe",
    "published_files",
    "recompute",
    "nightly_check",
    "suggested_id",
]
