"""Weights of finished runs, handed out: plain, or as the paper's code would have saved them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from harness import paths
from harness.checkpoints import load_into
from harness.chosen_method import make_method
from harness.data.facts import facts
from harness.errors import CheckpointUnavailable, ProtocolError
from harness.models import build
from harness.protocols.state import RunFolder
from harness.results import Result, Run, load_all
from methods.base import Schedule


def last_trained(entry_id: str) -> Result:
    """The newest stored result of `entry_id` that was trained here."""
    found = [result for result in load_all(entry=entry_id) if result.mode == "trained"]
    if not found:
        msg = f"{entry_id}: no training result is stored, so there are no weights to hand out"
        raise CheckpointUnavailable(f"{msg}. Train it: bench reproduce {entry_id} --mode train")
    return found[-1]


def export(result: Result, target: Path, seed: int, epoch: str, layout: str) -> Path:
    """Write the weights of one seed of `result` to `target`; the path.

    epoch: "last", or "best" if the recipe kept it. layout: "plain" (safetensors, gates below
    `ftwt.` or whatever the method calls them) or "paper" (torch file that its code reads).
    Raises CheckpointUnavailable if run or epoch are gone, ProtocolError if the paper has no layout.
    """
    run = _seed_of(result, seed)
    folder = _folder_of(result, run)
    weights = folder.weights if epoch == "last" else folder.best
    if not weights.exists():
        msg = f"{result.entry} seed {seed}: the {epoch} epoch's weights were not kept"
        raise CheckpointUnavailable(f"{msg}. Recipes with `selects: best` keep the best ones")
    tensors = load_file(weights)
    if layout == "plain":
        save_file(tensors, target)
        return target
    method = make_method(result.method, result.settings)
    model = _network(result)
    if method.kind == "dynamic":
        method.attach(model, Schedule(epochs=0, steps_per_epoch=0))
    load_into(model, tensors, result.entry)
    try:
        published = method.export_published(method.finalize(model))
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"{result.entry}: {error}. Try: --layout plain") from error
    torch.save({**_stated(run, epoch), **published}, target)
    return target


def _network(result: Result) -> nn.Module:
    shape = facts(result.dataset)
    return build(result.model, num_classes=shape.classes, in_channels=shape.channels)


def _stated(run: Run, epoch: str) -> dict[str, float]:
    """What papers' files say beside the weights; accuracies are percent on the test set."""
    best, last = run.best_top1_pct, run.counts.top1_pct
    chosen = run.best_epoch if epoch == "best" else int(run.epochs) - 1
    return {
        "epoch": 0 if chosen is None else chosen,
        "acc": best if epoch == "best" and best is not None else last,
        "best_acc": last if best is None else best,
    }


def _seed_of(result: Result, seed: int) -> Run:
    for run in result.runs:
        if run.seed == seed:
            return run
    known = ", ".join(str(run.seed) for run in result.runs)
    raise CheckpointUnavailable(f"{result.entry}: no seed {seed} in its result; seeds: {known}")


def _folder_of(result: Result, run: Run) -> RunFolder:
    """The folder whose finished run is the recorded one, of whichever entry trained it."""
    wanted = run.model_dump(mode="json")
    for file in sorted(paths.runs_folder().glob("*/*/done.json")):
        done = json.loads(file.read_text())
        if done["run"] == wanted:
            return RunFolder(file.parent, done["key"])
    msg = f"{result.entry} seed {run.seed}: the folder of this run is not here"
    raise CheckpointUnavailable(f"{msg}. Repeat the training command to make it again")
