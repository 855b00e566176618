"""run.yaml: the options of `bench train --config` that repeat a run, written beside its state."""

from __future__ import annotations

import json

import torch

from harness.models import typed_name
from harness.registry import LOCAL, SETTING, START_BASELINE, data_set, plain, read_own
from harness.training.request import whole
from harness.training.training_plan import TrainingPlan

RUN_FILE = "run.yaml"


def run_file(plan: TrainingPlan, seed: int) -> str:
    """The text of run.yaml: a line of YAML per option, paths whole, so that any folder will do.

    A registry entry's run becomes one of the user's own with the same training. seed: the one that
    is trained; a job's plan names no others.
    """
    return "".join(
        f"{name}: {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in _chosen(plan, seed).items()
        if value not in (None, False, {})
    )


def _chosen(plan: TrainingPlan, seed: int) -> dict[str, object]:
    """Option -> value, named as on the command line without the dashes."""
    entry, options, training = plan.entry, plan.options, plan.training
    return {
        "method": entry.method,
        "model": typed_name(entry.model),
        **_pictures(entry.dataset),
        "recipe": plan.recipe.name,
        "evaluation": plan.evaluation.name,
        "start": _start(plan),
        "weights": whole(options.from_file or (plan.start.file if plan.start else None)),
        "weights-format": options.reading.weights_format,
        "weights-key": options.reading.weights_key,
        "name": entry.id if entry.paper == LOCAL else f"my-{entry.id}",
        "set": _changes(plan),
        "seeds": 1 + max((seed, *training.seeds)),
        "evaluate-every": training.evaluate_every if training.evaluate_every > 1 else None,
        "channels-last": training.speed.channels_last,
        "compile": training.speed.compile,
        "cuda-graphs": training.speed.cuda_graphs,
        "device": torch.device(options.device).type,
        "data-root": whole(options.data_root),
    }


def _pictures(dataset: str) -> dict[str, object]:
    about = data_set(dataset)
    if not about.own:
        return {"dataset": dataset}
    own = read_own(dataset)
    values = {"image-size": own.side, "mean": own.evaluation.mean, "std": own.evaluation.std}
    return {
        "dataset": f"folder:{about.folder}",
        "split": own.train_frac,
        **{
            option: ",".join(map(repr, value)) if isinstance(value, tuple) else value
            for option, value in values.items()
            if option.removeprefix("image-") in own.stated
        },
    }


def _start(plan: TrainingPlan) -> str | None:
    """The entry that the weights come from; a file of the user stands before it."""
    if plan.options.from_file is not None:
        return None
    start = plan.recipe.start
    return plan.entry.baseline if start == START_BASELINE else start


def _changes(plan: TrainingPlan) -> dict[str, object]:
    """What differs from the recipe, by dotted key; settings of the entry itself included."""
    changed = plan.training.overrides
    own = {key: change.value for key, change in changed.items() if key != "start"}
    settings = {f"{SETTING}{key}": plain(value) for key, value in plan.entry.settings.items()}
    return {**settings, **own}
