from .allocation_preview import BASELINES, AllocationComparison, allocate, kept_counts, pruned
from .curve_cache import CurveCache
from .loop import Job, Speed, train
from .optimizers import build_optimizer
from .queue import TrainingCost, queued_result, training_cost
from .retrain import recipe_for, reproduce_by_training, retrain_together
from .run_folder import RunFolder, finished_run
from .savings_preview import estimate
from .signals import time_limit
from .start_weights import start_entry, trained_first
from .training_plan import Training
from .training_split import calibration_images

__all__ = [
    "BASELINES",
    "AllocationComparison",
    "CurveCache",
    "Job",
    "RunFolder",
    "Speed",
    "Training",
    "TrainingCost",
    "allocate",
    "build_optimizer",
    "calibration_images",
    "estimate",
    "finished_run",
    "kept_counts",
    "pruned",
    "queued_result",
    "recipe_for",
    "reproduce_by_training",
    "retrain_together",
    "start_entry",
    "time_limit",
    "train",
    "trained_first",
    "training_cost",
]
