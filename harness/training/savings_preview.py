"""What a method would save, before training: its main setting swept on the dense network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from harness.checkpoints import build_model, load_into, load_model, read_weights
from harness.data import evaluation_batches
from harness.registry import EVALUATION_BATCH, Entry, Registry, make_method, method_refusals
from harness.system import Options, verdict_precision

if TYPE_CHECKING:
    from torch import nn


def estimate(
    entry: Entry,
    registry: Registry,
    settings: Mapping[str, object],
    values: Sequence[float],
    options: Options,
) -> list[dict[str, float]]:
    """One row per value: the value itself, then the reductions to expect, in percent.

    The dense network is the entry's baseline, or the user's file (options.from_file). Evaluation
    images are looked at, options.limit of them, their labels are not.
    Raises SettingsError if the method estimates nothing or refuses a value; CheckpointError,
    DataError.
    """
    method = make_method(entry.method, settings)
    model = _dense(entry, registry, options).to(options.device).eval()
    batches = evaluation_batches(
        registry.evaluations[entry.evaluation],
        options.data_root,
        options.device,
        EVALUATION_BATCH,
        limit=options.limit,
    )
    options.progress.stage(f"{entry.method} on {entry.model}: {batches.n} images")
    refusals = method_refusals(f"{entry.method} on {entry.model}")
    with refusals, torch.inference_mode(), verdict_precision():
        return method.expected(model, (images for images, _ in batches), values)


def _dense(entry: Entry, registry: Registry, options: Options) -> nn.Module:
    """The network that would be pruned."""
    if options.from_file is None:
        assert entry.baseline is not None  # one of the two is given
        return load_model(registry.get(entry.baseline), options)[0]
    model = build_model(entry)
    tensors, _ = read_weights(options.from_file, options.reading, model, options.progress)
    load_into(model, tensors, options.from_file.name)
    return model
