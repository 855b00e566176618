from .cells import Context, default_resources, training_jobs
from .executors import EXECUTORS, Place, make_executor
from .jobs import Ending, Job, Resources, Update
from .journal import Event, Journal
from .queue import Queue, Watching

__all__ = [
    "EXECUTORS",
    "Context",
    "Ending",
    "Event",
    "Job",
    "Journal",
    "Place",
    "Queue",
    "Resources",
    "Update",
    "Watching",
    "default_resources",
    "make_executor",
    "training_jobs",
]
