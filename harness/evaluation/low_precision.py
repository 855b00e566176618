"""The evaluation in bfloat16, channels last and compiled: how fast, and how many answers change."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from harness.data import EvaluationBatches
from harness.evaluation.protocol import Evaluated, evaluate_together
from harness.profile import missing_compiler
from harness.results import FastMeasurement, predictions_sha256
from harness.system import Progress, fast_precision

DTYPE = torch.bfloat16
FORMS = 256  # what torch allows over all functions


class FastForward(nn.Module):
    """`model` under bfloat16 autocast on channels-last images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W)."""
        with torch.autocast(images.device.type, DTYPE):
            logits: Tensor = self.model(images.to(memory_format=torch.channels_last))
        return logits


def measure_fast_(
    models: Sequence[nn.Module],
    exact: Sequence[Evaluated],
    batches: EvaluationBatches,
    progress: Progress,
) -> list[FastMeasurement | Exception]:
    """One fast pass of all `models` over `batches`, compared image by image with `exact`.

    The models' weights are left channels last in memory. A model that fails has its error instead.
    """
    compiled = not missing_compiler(next(models[0].parameters()).device)
    ready: list[tuple[nn.Module, float] | Exception] = []
    first, _ = next(iter(batches))
    with _room_for_forms(compiled):
        for number, model in enumerate(models, 1):
            text = f"fast evaluation: prepare network {number} of {len(models)}"
            progress.stage(f"{text}{', compile' if compiled else ''}")
            ready.append(_prepared(model, first, compiled))
        progress.stage("fast evaluation", total=batches.n)
        forwards = [each[0] for each in ready if not isinstance(each, Exception)]
        found = iter(evaluate_together(forwards, batches, progress.advance, fast_precision))
    return [
        each
        if isinstance(each, Exception)
        else _measured(next(found), reference, each[1], compiled)
        for each, reference in zip(ready, exact, strict=True)
    ]


def _room_for_forms(compiled: bool) -> AbstractContextManager[object]:
    """All networks run through one forward(), of which torch by default allows 8 forms only.

    The limit is the process's own: it is raised for as long as the context lasts.
    """
    if not compiled:
        return nullcontext()
    config = torch._dynamo.config
    room: AbstractContextManager[object] = config.patch(
        recompile_limit=max(config.recompile_limit, FORMS)
    )
    return room


@torch.inference_mode()
def _prepared(
    model: nn.Module, images: Tensor, compiled: bool
) -> tuple[nn.Module, float] | Exception:
    """The network as it will be run, and the seconds until it had run once."""
    runs: nn.Module = FastForward(model.to(memory_format=torch.channels_last)).eval()
    if compiled:
        runs = torch.compile(runs)  # type: ignore[assignment]
    started = time.perf_counter()
    try:
        with fast_precision():
            runs(images)
    except Exception as error:  # a compiler can fail in any way; the verdict does not need it
        return error
    return runs, time.perf_counter() - started


def _measured(
    found: Evaluated | Exception, exact: Evaluated, preparation_s: float, compiled: bool
) -> FastMeasurement | Exception:
    if isinstance(found, Exception):
        return found
    return FastMeasurement(
        counts=found.counts,
        flipped=int((found.predictions != exact.predictions).sum()),
        predictions_sha256=predictions_sha256(found.predictions),
        dtype=str(DTYPE).removeprefix("torch."),
        memory_format="channels_last",
        compiled=compiled,
        preparation_s=preparation_s,
        images_per_s=found.counts.n / found.forward_s,
        float32_images_per_s=exact.counts.n / exact.forward_s,
    )
