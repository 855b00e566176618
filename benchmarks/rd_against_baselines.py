"""Rate-distortion pruning, both solvers, against LAMP, ERK, uniform(+) and global magnitude.

Each network is pruned once to each target by each rule. On record are its test accuracy and what
the rules did to the logits of one calibration set, the same for all: the squared change, mean over
classes, as mean and as maximum over images. `sum` is what the single-layer curves add up to at the
rule's rates: the quantity that rate-distortion pruning as published minimises; "joint RD", ours,
minimises the measured distortion itself. Both are measured again on test images, which no rule has
seen. With --recalibrate N every network is evaluated once more after its batch norms took the
statistics of N training images.

    python -m benchmarks.rd_against_baselines dense-resnet20-cifar10 [ID ...]
        [--targets 50 70 80 90] [--calibration 1024] [--points 100] [--recalibrate N] [--limit N]

Rows are written one by one to reports/rd/<id>-<configuration>.json, curves layer by layer to the
cache: kill it at any moment and repeat the command. The table and the picture are made from all
files there, with --report alone, too.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import home, parsed
from benchmarks.rd_report import AGAIN, HELD_OUT, JOINT, RD, RULES, Row, folder, report
from harness.checkpoints import load_model
from harness.commands import progress
from harness.data import EvaluationBatches, evaluation_batches
from harness.evaluation import evaluate, recalibrate_
from harness.profile import measure_cost
from harness.registry import EVALUATION_BATCH, Entry, Evaluation, Registry, input_shape, load
from harness.system import Options, Progress, sha256_json, verdict_precision, versions
from harness.training import BASELINES, CurveCache, calibration_images, kept_counts, pruned
from methods.inventory import prunable_weights
from methods.magnitude import Magnitude, MagnitudeSettings
from methods.masked import AllocationName, MaskedMethod
from methods.masks import keep_largest
from methods.rate_distortion import Measurement, RateDistortion, RateDistortionSettings
from methods.rate_distortion.distortion import BATCH_SIZE, evaluating

MAGNITUDE: dict[str, AllocationName] = {**BASELINES, "uniform": "uniform"}


class Record:
    """The rows of one network under one configuration: a JSON file, replaced after every row."""

    def __init__(self, network: str, configuration: Row) -> None:
        self.file = folder() / f"{network}-{sha256_json(configuration)[:8]}.json"
        self.content: Row = {"network": network, "configuration": configuration, "rows": []}
        if self.file.exists():
            self.content = json.loads(self.file.read_text())

    def has(self, rule: str, target_pct: float) -> bool:
        """Whether that row is there."""
        return any(r["rule"] == rule and r["target_pct"] == target_pct for r in self.rows)

    def add(self, row: Row) -> None:
        """Write one more row."""
        self.rows.append(row)
        self.save()

    def save(self) -> None:
        """Write all rows."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(self.content, indent=1))
        part.replace(self.file)

    @property
    def rows(self) -> list[Row]:
        rows: list[Row] = self.content["rows"]
        return rows


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Logits (M, classes) float64 in eval mode, in batches of the size the curves use."""
    with evaluating(model), verdict_precision():
        return torch.cat([model(part).double() for part in images.split(BATCH_SIZE)])


def moved(dense: Tensor, changed: Tensor, prefix: str = "distortion") -> dict[str, float]:
    """Squared change of the logits, mean over classes: its mean and its maximum over images."""
    errors = (dense - changed).square().mean(1)
    return {f"{prefix}_mean": float(errors.mean()), f"{prefix}_worst": float(errors.max())}


@dataclass(frozen=True)
class Yardstick:
    """Pictures and what the dense network says of them: calibration ones, and unseen ones."""

    images: Tensor
    unseen: Tensor
    dense: Tensor  # logits of `images`
    dense_unseen: Tensor

    @classmethod
    def of(cls, model: nn.Module, images: Tensor, unseen: Tensor) -> Yardstick:
        """Run the dense network."""
        return cls(images, unseen, logits_of(model, images), logits_of(model, unseen))

    def moved(self, changed: nn.Module) -> dict[str, float]:
        """Both distortions of a changed network on both kinds of pictures."""
        return {
            **moved(self.dense, logits_of(changed, self.images)),
            **self.moved_unseen(changed),
        }

    def moved_unseen(self, changed: nn.Module) -> dict[str, float]:
        """Both distortions on test images."""
        return moved(self.dense_unseen, logits_of(changed, self.unseen), "unseen")


def sum_of_curves(measurement: Measurement, kept: tuple[int, ...]) -> float:
    """What the layers' own distortions add up to at these counts, linear between the rates."""
    rates = [1 - left / n for left, n in zip(kept, measurement.sizes, strict=True)]
    curves = measurement.distortion.numpy()
    return float(
        sum(np.interp(x, measurement.rates, y) for x, y in zip(rates, curves, strict=True))
    )


def method_for(rule: str, settings: RateDistortionSettings, bars: Progress) -> MaskedMethod:
    """The rule as a method."""
    if rule not in (RD, JOINT):
        return Magnitude(MagnitudeSettings(allocation=MAGNITUDE[rule]))
    solver = "joint" if rule == JOINT else "exact"
    method = RateDistortion(settings.model_copy(update={"solver": solver}))
    method.store = CurveCache(bars, method.activity)
    return method


def configuration_of(
    chosen: argparse.Namespace,
    checkpoint_sha256: str,
    evaluation: Evaluation,
    test: EvaluationBatches,
) -> Row:
    """Everything that moves a number, so that rows of two configurations never meet."""
    return {
        "checkpoint_sha256": checkpoint_sha256,
        "evaluation": f"{evaluation.name} v{evaluation.version}",
        "test_fingerprint": test.identity.fingerprint,
        "test_copy": test.identity.copy_name,
        "n": test.n,
        "calibration": chosen.calibration,
        "points": chosen.points,
        "reduction": chosen.reduction,
        "batch": BATCH_SIZE,
        "channels_last": chosen.channels_last,
        "device": chosen.device,
        "torch": versions()["torch"],
        # Records of before do not have it.
        **({} if chosen.recalibrate is None else {"recalibrate": chosen.recalibrate}),
    }


def run(entry: Entry, registry: Registry, chosen: argparse.Namespace, bars: Progress) -> None:
    """Every missing row of one network."""
    settings = RateDistortionSettings(
        points=chosen.points, reduction=chosen.reduction, calibration_size=chosen.calibration
    )
    evaluation = registry.evaluations[entry.evaluation]
    options = Options(device=chosen.device, data_root=chosen.data_root, progress=bars)
    model, obtained = load_model(entry, options)
    if chosen.channels_last:
        model = model.to(memory_format=torch.channels_last)
    test = evaluation_batches(
        evaluation, chosen.data_root, chosen.device, EVALUATION_BATCH, limit=chosen.limit
    )
    configuration = configuration_of(chosen, obtained.sha256, evaluation, test)
    record = Record(entry.id, configuration)
    images = calibration_images(
        RateDistortion(settings), evaluation, chosen.data_root, chosen.device, seed=0
    )
    assert images is not None
    spread = evaluation_batches(
        evaluation, chosen.data_root, chosen.device, EVALUATION_BATCH, limit=HELD_OUT
    )
    unseen = torch.cat([pictures for pictures, _ in spread])
    yardstick = Yardstick.of(model, images, unseen)
    add_unseen(record, model, yardstick)
    wanted = [(t, rule) for t in chosen.targets for rule in chosen.rules if not record.has(rule, t)]
    if not wanted:
        bars.note(f"{entry.id}: every row is there")
        return
    if not record.has("dense", 0.0):
        row = row_of("dense", 0.0, model, yardstick, entry, registry, test)
        record.add(row | recalibrated(copy.deepcopy(model), evaluation, test, chosen))
    curves = None
    if any(rule != JOINT for _, rule in wanted):
        curves = curves_of(model, images, settings, wanted[0][0] / 100, bars)
    for target_pct, rule in wanted:
        bars.stage(f"{entry.id}: {rule} at {target_pct:g} %")
        started = time.process_time()
        try:
            changed = pruned(method_for(rule, settings, bars), model, target_pct / 100, images)
        except ValueError as error:
            record.add({"rule": rule, "target_pct": target_pct, "cannot": str(error)})
            continue
        solved = time.process_time() - started
        row = row_of(rule, target_pct, changed, yardstick, entry, registry, test)
        if curves is not None:
            row["sum"] = sum_of_curves(curves, kept_counts(changed))
        row |= recalibrated(changed, evaluation, test, chosen)
        record.add(row | {"solver_cpu_s": solved})
        bars.note(
            f"{entry.id} {rule} {target_pct:g} %: top-1 {row['top1_pct']:.2f} %, "
            f"distortion worst {row['distortion_worst']:.4g}, mean {row['distortion_mean']:.4g}"
        )


def curves_of(
    model: nn.Module,
    images: Tensor,
    settings: RateDistortionSettings,
    target: float,
    bars: Progress,
) -> Measurement:
    """The single-layer curves, from the cache as far as they are there."""
    method = method_for(RD, settings, bars)
    pruned(method, model, target, images)
    assert isinstance(method, RateDistortion)
    assert method.allocation is not None
    assert method.allocation.measurement is not None
    return method.allocation.measurement


def add_unseen(record: Record, model: nn.Module, yardstick: Yardstick) -> None:
    """Distortion on test images for rows of before: their counts say which weights are left."""
    missing = [row for row in record.rows if "kept" in row and "unseen_mean" not in row]
    for row in missing:
        changed = copy.deepcopy(model)
        for weight, kept in zip(prunable_weights(changed).values(), row["kept"], strict=True):
            stored = weight.stored.detach()
            stored.mul_(keep_largest(stored.abs(), kept))
        row |= yardstick.moved_unseen(changed)
    if missing:
        record.save()


def recalibrated(
    model: nn.Module, evaluation: Evaluation, test: EvaluationBatches, chosen: argparse.Namespace
) -> Row:
    """Accuracy after recalibration, which changes `model`; {} if it was not asked for."""
    if chosen.recalibrate is None:
        return {}
    recalibrate_(model, chosen.recalibrate, evaluation, chosen.data_root, chosen.device)
    counts = evaluate(model, test).counts
    return {"top1_recalibrated": counts.top1, AGAIN: counts.top1_pct}


def row_of(
    rule: str,
    target_pct: float,
    model: nn.Module,
    yardstick: Yardstick,
    entry: Entry,
    registry: Registry,
    test: EvaluationBatches,
) -> Row:
    """One measured network."""
    counts = evaluate(model, test).counts
    cost = measure_cost(model, input_shape(registry.evaluations[entry.evaluation]))
    return {
        "rule": rule,
        "target_pct": target_pct,
        "top1": counts.top1,
        "n": counts.n,
        "top1_pct": counts.top1_pct,
        **yardstick.moved(model),
        "sparsity_pct": cost.sparsity_pct,
        "macs_effective": cost.macs_effective,
        "macs_dense": cost.macs_dense,
        "collapsed": list(cost.collapsed),
        "kept": list(kept_counts(model)),
    }


def arguments(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", nargs="*", help="dense registry entries")
    parser.add_argument("--targets", type=float, nargs="+", default=[50.0, 70.0, 80.0, 90.0])
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    parser.add_argument("--calibration", type=int, default=1024, help="training images")
    parser.add_argument("--points", type=int, default=100, help="K: rates 0, 1/K, ..., 1")
    parser.add_argument("--reduction", choices=("worst", "mean"), default="worst")
    parser.add_argument("--recalibrate", type=int, metavar="N", help="training images")
    parser.add_argument("--limit", type=int, help="test images, evenly spread")
    parser.add_argument("--channels-last", action="store_true", help="faster on most CPUs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--report", action="store_true", help="only table and picture")
    small = {"calibration": 16, "points": 5, "targets": [50.0], "limit": 50}
    small |= {"recalibrate": 32}
    return parsed(parser, words, ids=["dense-convnet-tiny-digits"], **small)


def main(words: list[str] | None = None) -> None:
    chosen = arguments(words)
    registry = load()
    with home(temporary=chosen.small), progress() as bars:
        for id in [] if chosen.report else chosen.ids:
            run(registry.get(id), registry, chosen, bars)
            report()
        report()


if __name__ == "__main__":
    main()
