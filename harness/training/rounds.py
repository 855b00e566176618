"""The standardized pruning procedure: prune, fine-tune, repeat; one round is the one-shot case.

Optional dense training comes first (`recipe.length`), then `recipe.prune.count` rounds. Each round
asks the method for the next target and trains with a fresh optimizer and schedule. Resumable
between rounds and inside every one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from harness.errors import MetricError, ProtocolError
from harness.profile import sparsity
from harness.registry import Duration, PruneRounds, Recipe, method_refusals
from harness.system import rank, verdict_precision, wait_for_all
from harness.training.curve_cache import CurveCache
from harness.training.generators import generator_states, restore_generators
from harness.training.loop import HISTORY, Trained, TrainingTask, train
from harness.training.run_folder import RunFolder
from methods.base import Method, Schedule, Settings
from methods.dense import Dense
from methods.measurement_store import StoresMeasurements

Calibration = Callable[[], Tensor | None]
Recalibration = Callable[[nn.Module, int], None]


def prune(
    job: TrainingTask,
    calibration: Calibration = lambda: None,
    recalibrate: Recalibration | None = None,
) -> Trained:
    """Run every round that is left and hand over the network after the last one.

    calibration: called once per round, for methods that look at data: images (N,C,H,W), normalised.
    recalibrate: gives batch norms the statistics of so many images, where the recipe asks for it.
    The history has one row per round, 0 = dense; epochs, steps and time are of all rounds together.
    Raises ProtocolError if the recipe has no rounds, the method no one-shot form, or a target
    cannot be reached.
    """
    rounds = _rounds(job)
    with method_refusals(f"{job.method.name} with recipe {job.recipe.name}"):
        job.method.attach(job.model, Schedule(0, len(job.batches), job.seed))
    history = _resume(job)
    if not history:
        history = [_dense(job)]
        _save(job, history)
    trained = None
    for number in range(len(history), rounds.count + 1):
        trained = _round(job, rounds, number, calibration, recalibrate)
        history.append(_row(trained, number))
        _save(job, history)
    if trained is None:  # every round was finished before: only the last look is missing
        trained = _finetune(job, Duration(0, "step"), rounds.count)
    return replace(
        trained,
        history=tuple(history),
        epochs=sum(row["epochs"] for row in history),
        steps=int(sum(row["steps"] for row in history)),
        wall_s=sum(row["wall_s"] for row in history),
        cpu_s=sum(row.get("cpu_s", 0.0) for row in history),
    )


def gains(history: HISTORY) -> dict[str, float]:
    """What the rounds won over the network they began with, in points of top-1; {} without rounds.

    "gain_over_dense_pp": last iterates of the last round and of the dense network.
    "early_gain_over_dense_pp": both where their validation loss was lowest, if it was measured.
    """
    if not history or "round" not in history[0]:
        return {}
    first, last = history[0], history[-1]
    found = {"gain_over_dense_pp": last["top1_pct"] - first["top1_pct"]}
    if "early_top1_pct" in first and "early_top1_pct" in last:
        found["early_gain_over_dense_pp"] = last["early_top1_pct"] - first["early_top1_pct"]
    return found


def required_rounds(recipe: Recipe, method: Method) -> PruneRounds:
    """The rounds of `recipe`. Raises ProtocolError if it has none, or `method` cannot prune so."""
    if recipe.prune is None:
        msg = f"recipe {recipe.name} has no pruning rounds. Add: --set prune.count=1"
        raise ProtocolError(msg)
    if type(method).prune is Method.prune:
        msg = f"method {method.name!r} prunes while training and has no one-shot form"
        raise ProtocolError(f"{msg}. Use: bench train --method {method.name}")
    return recipe.prune


def _rounds(job: TrainingTask) -> PruneRounds:
    return required_rounds(job.recipe, job.method)


def _resume(job: TrainingTask) -> list[dict[str, float]]:
    """Rows of the finished rounds (0 = dense), everything else restored; [] at the start."""
    state = job.folder.load_state()
    if state is None:
        return []
    with job.folder.restoring("state.pt"):
        job.model.load_state_dict(state["model"])
        job.method.load_state_dict(state["method"])
        restore_generators(state["generators"])
        history = list(state["history"])
    job.progress.note(f"resumed after round {len(history) - 1}")
    return history


def _dense(job: TrainingTask) -> dict[str, float]:
    """Train the network that will be pruned, when the recipe trains its own; its row."""
    dense = replace(job.recipe, prune=None)
    inside = replace(job, recipe=dense, method=Dense(Settings()), folder=_folder(job, 0))
    try:
        return _row(train(inside), 0)
    except MetricError as error:
        raise ProtocolError(f"the network to prune cannot be measured: {error}") from error


def _row(trained: Trained, number: int) -> dict[str, float]:
    counts = trained.last.counts
    profile = sparsity(trained.model)
    return {
        "round": float(number),
        "top1_pct": counts.top1_pct,
        "test_loss": counts.loss,
        "nnz": float(profile.counts()[0]),
        "sparsity_pct": 100.0 * profile.sparsity(),
        "collapsed_layers": float(len(profile.collapsed)),
        "epochs": trained.epochs,
        "steps": float(trained.steps),
        "wall_s": trained.wall_s,
        "cpu_s": trained.cpu_s,
        **_early(trained),
    }


def _early(trained: Trained) -> dict[str, float]:
    """Where early stopping would have stopped: the epoch of the lowest validation loss."""
    measured = [row for row in trained.history if "val_loss" in row]
    if not measured:
        return {}
    early = min(measured, key=lambda row: row["val_loss"])
    return {"early_epoch": early["epoch"], "early_top1_pct": early["top1_pct"]}


def _round(
    job: TrainingTask,
    rounds: PruneRounds,
    number: int,
    calibration: Calibration,
    recalibrate: Recalibration | None,
) -> Trained:
    """Prune to the round's target, unless it was interrupted after that, then fine-tune."""
    if _folder(job, number).load_state() is None:
        _prune_once(job, rounds, number, calibration)
        if rounds.recalibrate is not None and recalibrate is not None:
            job.progress.stage(f"round {number}/{rounds.count}: recalibrate batch norms")
            recalibrate(job.model, rounds.recalibrate)
    return _finetune(job, rounds.finetune, number)


def _prune_once(
    job: TrainingTask, rounds: PruneRounds, number: int, calibration: Calibration
) -> None:
    target = rounds.targets[number - 1]
    goal = "as set" if target is None else f"target {100 * target:.2f} %"
    job.progress.stage(f"round {number}/{rounds.count}: prune, {goal}")
    if isinstance(job.method, StoresMeasurements):
        stage = f"round {number}/{rounds.count}: {job.method.activity}"
        job.method.store = CurveCache(job.progress, stage)
    # What a method measures does not depend on TF32 either.
    with method_refusals(f"round {number}, {goal}"), verdict_precision():
        if target is None:
            job.method.prune_round(job.model, number, rounds.count)
        else:
            job.method.prune(job.model, target, calibration())


def _finetune(job: TrainingTask, length: Duration, number: int) -> Trained:
    rounds, optimizer = _rounds(job), job.recipe.optimizer
    if rounds.lr is not None:
        optimizer = replace(optimizer, lr=rounds.lr)
    recipe = replace(job.recipe, prune=None, length=length, optimizer=optimizer)
    return train(replace(job, recipe=recipe, folder=_folder(job, number), attach=False))


def _save(job: TrainingTask, history: list[dict[str, float]]) -> None:
    """Close a round; every process takes part, the first one writes."""
    if rank() == 0:
        job.folder.save_state(
            {
                "history": history,
                "model": job.model.state_dict(),
                "method": job.method.state_dict(),
                "generators": generator_states(),
            }
        )
        _folder(job, len(history) - 1).clear()
    wait_for_all()


def _folder(job: TrainingTask, number: int) -> RunFolder:
    return job.folder.inner(f"round{number:02d}")
