from . import accepted, new_entry, nightly_report, published_files
from .doctor import Diagnosis, examine_machine
from .full_check import derive, record_derived
from .known_names import require_known_names
from .link_check import RateLimits, fetch_link, probe_links
from .new_entry import EntryDraft, evaluations_on, file_facts, suggested_id
from .nightly import NightlyRun, nightly_check
from .pinning import PinState, pin_checkpoints
from .project_record import Recorded, put_on_record
from .recomputed_facts import recompute_models
from .submission import Submission, make_submission
from .submission_checks import problems_of

__all__ = [
    "EntryDraft",
    "Diagnosis",
    "derive",
    "PinState",
    "RateLimits",
    "Recorded",
    "Submission",
    "make_submission",
    "problems_of",
    "NightlyRun",
    "accepted",
    "evaluations_on",
    "examine_machine",
    "fetch_link",
    "file_facts",
    "pin_checkpoints",
    "new_entry",
    "nightly_report",
    "probe_links",
    "published_files",
    "put_on_record",
    "recompute_models",
    "record_derived",
    "nightly_check",
    "require_known_names",
    "suggested_id",
]
