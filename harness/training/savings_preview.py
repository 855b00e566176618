"""What a method would save, before training: its main setting swept on the dense network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from harness.data import evaluation_batches
from harness.registry import EVALUATION_BATCH, Entry, Registry, make_method, method_refusals
from harness.system import Options, verdict_precision

if TYPE_CHECKING:
    from torch import nn


def estimate(
    entry: Entry,
    model: nn.Module,
    registry: Registry,
    settings: Mapping[str, object],
    values: Sequence[float],
    options: Options,
) -> list[dict[str, float]]:
    """One row per value: the value itself, then the reductions to expect, in percent.

    entry: of the method that would prune `model`, the dense network. Evaluation images are looked
    at, options.limit of them, their labels are not.
    Raises SettingsError if the method estimates nothing or refuses a value; DataError.
    """
    method = make_method(entry.method, settings)
    model = model.to(options.device).eval()
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
