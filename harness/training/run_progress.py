"""How far a run is, written beside its state so that any process can look.

run.json is what was asked for, run.yaml the options that repeat it: written when the first stage
begins, so that a request which is refused before leaves nothing. progress.json is replaced every
few seconds. All are for people and schedulers: no training reads them, and losing them loses
nothing.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import replace

from harness.system import Progress, rank, replace_text
from harness.training.request import TrainingRequest
from harness.training.run_file import RUN_FILE, run_file
from harness.training.run_folder import RunFolder
from harness.training.training_plan import TrainingPlan

EVERY_S = 2.0  # between two writes


def followed(plan: TrainingPlan, seed: int, folder: RunFolder) -> TrainingPlan:
    """`plan` with a progress that is also written into the folder of the run."""
    if rank() != 0:
        return plan
    asked = TrainingRequest(plan.entry, plan.recipe, plan.options, plan.training)
    about = {"request": asked.as_plain(), "seed": seed, "started": time.time()}
    texts = {"run.json": json.dumps(about, indent=1), RUN_FILE: run_file(plan, seed)}
    progress = WrittenProgress(plan.options.progress, folder, texts)
    return replace(plan, options=replace(plan.options, progress=progress))


class WrittenProgress:
    """Passes everything on, and keeps a file up to date; before the first one come `texts`."""

    def __init__(self, inner: Progress, folder: RunFolder, texts: Mapping[str, str]) -> None:
        self._inner, self._folder, self._texts = inner, folder, texts
        self._stage, self._done = "", 0
        self._total: int | None = None
        self._facts: dict[str, float] = {}
        self._begun = self._written = 0.0
        self._before = 0

    def stage(self, text: str, total: int | None = None) -> None:
        self._inner.stage(text, total)
        for name, about in self._texts.items():
            self._folder.save_text(name, about)
        self._texts = {}
        self._stage, self._total, self._done, self._facts = text, total, 0, {}
        self._begun, self._before = time.time(), 0
        self._write()

    def advance(self, amount: int = 1, **facts: float) -> None:
        self._inner.advance(amount, **facts)
        if self._done == 0 and not facts:  # a resumed run jumps to where it was
            self._before = amount
        self._done += amount
        self._facts.update(facts)
        if time.time() - self._written > EVERY_S:
            self._write()

    def note(self, text: str) -> None:
        self._inner.note(text)

    def _write(self) -> None:
        self._written = time.time()
        facts = {name: value for name, value in self._facts.items() if value == value}
        about = {
            "stage": self._stage,
            "done": self._done,
            "total": self._total,
            "done_before": self._before,
            "stage_began": self._begun,
            "updated": self._written,
            "facts": facts,
            "place": {"node": platform.node(), "pid": os.getpid()},
        }
        replace_text(self._folder.path / "progress.json", json.dumps(about))
