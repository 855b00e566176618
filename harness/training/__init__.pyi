from .allocation_preview import BASELINES, AllocationComparison, allocate, kept_counts, pruned
from .curve_cache import CurveCache
from .loop import TrainingTask, train
from .network_speed import Speed
from .optimizers import build_optimizer
from .planned_runs import PlannedOutcome, PlannedRun, dry_run, dry_runs
from .queue import TrainingCost, queued_result, training_cost, training_images
from .request import TrainingRequest
from .retrain import recipe_for, reproduce_by_training, retrain_together, train_seed
from .run_folder import RunFolder, RunOrigin, finished_run
from .run_status import lock_of, read_progress
from .savings_preview import estimate
from .signals import StopRequest, deferred, obeyed, signal_name, time_limit
from .start_by_name import NamedStart, named_start
from .start_weights import start_entry, trained_first
from .training_plan import FirstTraining, Training
from .training_split import calibration_images

__all__ = [
    "BASELINES",
    "AllocationComparison",
    "CurveCache",
    "FirstTraining",
    "NamedStart",
    "PlannedOutcome",
    "PlannedRun",
    "TrainingTask",
    "RunFolder",
    "RunOrigin",
    "Speed",
    "StopRequest",
    "Training",
    "TrainingCost",
    "TrainingRequest",
    "allocate",
    "build_optimizer",
    "calibration_images",
    "deferred",
    "dry_run",
    "dry_runs",
    "estimate",
    "finished_run",
    "kept_counts",
    "lock_of",
    "named_start",
    "obeyed",
    "pruned",
    "queued_result",
    "read_progress",
    "recipe_for",
    "reproduce_by_training",
    "retrain_together",
    "signal_name",
    "start_entry",
    "time_limit",
    "train",
    "train_seed",
    "trained_first",
    "training_cost",
    "training_images",
]
