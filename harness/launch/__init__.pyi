from .cells import Context, default_resources, training_jobs
from .cost import CostEstimate, estimate_cost
from .executors import EXECUTORS, Place, make_executor
from .grid import LEVELS, Grid, GridAxis, GridPoint, level_axes
from .jobs import Ending, Job, Resources, Update
from .journal import Event, Journal
from .launching import Launch, launched, result_of
from .queue import Queue, Watching
from .queue_folder import QueueFolder, all_queues
from .run_orders import cancel, delete, resume
from .runs import RunStatus, all_runs, find_run, folder_of, leftovers, request_of
from .suites import Workers
from .sweep import Sweep, SweepCell, SweepPlan, SweepRow, plan_sweep, run_sweep

__all__ = [
    "GridAxis",
    "SweepCell",
    "Context",
    "CostEstimate",
    "EXECUTORS",
    "Ending",
    "Event",
    "Grid",
    "Job",
    "Journal",
    "LEVELS",
    "Launch",
    "Place",
    "GridPoint",
    "Queue",
    "QueueFolder",
    "Resources",
    "RunStatus",
    "SweepRow",
    "Sweep",
    "SweepPlan",
    "Update",
    "Watching",
    "Workers",
    "all_queues",
    "all_runs",
    "cancel",
    "default_resources",
    "delete",
    "estimate_cost",
    "find_run",
    "folder_of",
    "launched",
    "leftovers",
    "level_axes",
    "make_executor",
    "plan_sweep",
    "request_of",
    "result_of",
    "resume",
    "run_sweep",
    "training_jobs",
]
