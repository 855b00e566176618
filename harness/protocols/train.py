"""The standardized training loop: one method, one recipe, one seed; resumable.

The loop knows no method. Order of events within a step is documented in methods.base. State is
saved after every epoch, every few minutes inside one, and on SIGTERM or Ctrl-C; a killed run
continues from the last save with the same data order, augmentation and generators; on a CPU the
final weights are bit-identical to those of an uninterrupted run.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.data.training import FolderTrainBatches, TrainBatches
from harness.errors import Preempted, ProtocolError
from harness.profile.sparsity import sparsity
from harness.progress import Progress, Silent
from harness.protocols.distributed import rank, replicate, wait_for_all, world_size
from harness.protocols.evaluate import Evaluated
from harness.protocols.optimizers import build_optimizer, set_learning_rate
from harness.protocols.seeds import generator_states, restore_generators
from harness.protocols.state import RunFolder
from harness.recipes import Recipe, learning_rate
from methods.base import Method, Schedule

CHECK_EVERY = 50  # steps between looks at the loss: each look waits for the device
HISTORY = tuple[dict[str, float], ...]


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast to compute. Anything but the default is recorded with the result."""

    channels_last: bool = False
    compile: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """Everything one training run needs; models and methods are used up by it."""

    model: nn.Module  # on its device, start weights loaded
    method: Method
    recipe: Recipe
    batches: TrainBatches | FolderTrainBatches
    evaluate: Callable[[nn.Module], Evaluated]
    folder: RunFolder
    seed: int
    device: str = "cpu"
    evaluate_every: int = 1  # epochs; the last one is always evaluated
    save_every_s: float = 120.0
    speed: Speed = field(default_factory=Speed)
    progress: Progress = field(default_factory=Silent)
    attach: bool = True  # False: the method holds masks already (fine-tuning of a pruned model)


@dataclass(frozen=True, slots=True)
class Trained:
    """What a finished run hands over."""

    model: nn.Module  # plain module, eval mode
    last: Evaluated  # after the last step: the number
    best_top1_pct: float  # best evaluated epoch on the test set, kept apart
    best_epoch: int
    epochs: float
    steps: int
    wall_s: float  # over all sessions of a resumed run
    history: HISTORY


def train(job: Job) -> Trained:
    """Train to the end of the recipe, resuming if the run folder holds a state.

    Raises ProtocolError when the loss is not finite (the last good state is kept), Preempted after
    SIGTERM or Ctrl-C, once the state is saved.
    """
    loop = _Loop(job)
    loop.resume()
    with _signals(loop):
        loop.run()
    return loop.outcome()


class _Loop:
    """The moving parts of one run."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.recipe, self.method = job.recipe, job.method
        self.per_epoch = len(job.batches)
        self.total = self.recipe.length.to_steps(self.per_epoch)
        self.epochs = self.recipe.length.to_epochs(self.per_epoch)
        if job.attach:
            self.method.attach(job.model, Schedule(self.epochs, self.per_epoch, job.seed))
        if job.speed.channels_last:
            job.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = self.method.parameter_groups(job.model)
        self.optimizer = build_optimizer(
            self.recipe.optimizer, groups or [{"params": list(job.model.parameters())}]
        )
        self.method.bind(self.optimizer)
        parallel = replicate(job.model, job.device)
        self.forward: Callable[[Tensor], Tensor] = (
            torch.compile(parallel) if job.speed.compile else parallel
        )
        # Half precision needs its small gradients scaled up; everything else passes unchanged.
        fp16 = self.recipe.precision == "amp-fp16" and job.device.startswith("cuda")
        self.scaler = torch.amp.GradScaler(torch.device(job.device).type, enabled=fp16)
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.last: Evaluated | None = None
        self.loss_sum = torch.zeros((), device=job.device)
        self.loss_steps = 0
        self.stop_signal: int | None = None
        self.wall_before = 0.0
        self.started = time.perf_counter()

    def run(self) -> None:
        """All epochs that are left."""
        job = self.job
        job.progress.stage(f"train {self.recipe.name} seed {job.seed}", total=self.total)
        job.progress.advance(self.step)
        while self.step < self.total:
            epoch, done = divmod(self.step, self.per_epoch)
            if done == 0:
                self.method.begin_epoch(epoch)
                self._reset_loss()
            self._epoch(epoch, done)
            self.method.end_epoch(epoch)
            self._close_epoch(epoch)
            self._save()
        if self.last is None:  # nothing to train, or resumed after the last epoch
            self.last = job.evaluate(job.model)

    def _epoch(self, epoch: int, done: int) -> None:
        """The steps of one epoch from `done` on."""
        saved = shown = time.perf_counter()
        images_done = 0
        self.job.model.train()
        for images, targets in self.job.batches.epoch(epoch, done):
            self._train_step(images, targets)
            images_done += len(targets) * world_size()
            self.step += 1
            if self.step % CHECK_EVERY == 0 or self.step == self.total:
                now = time.perf_counter()
                self._show(images_done / (now - shown))
                shown, images_done = now, 0
                if now - saved > self.job.save_every_s:
                    self._save()
                    saved = now
            if self.stop_signal is not None:
                self._leave()
            if self.step == self.total:
                return

    def _train_step(self, images: Tensor, targets: Tensor) -> None:
        """Forward, backward, step; nothing here waits for the device."""
        recipe, method = self.recipe, self.method
        lr = learning_rate(
            recipe.schedule, recipe.optimizer.lr, self.step, self.per_epoch, self.total
        )
        set_learning_rate(self.optimizer, lr)
        if self.job.speed.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        method.begin_step(self.step, images, targets)
        with _autocast(recipe.precision, self.job.device):
            outputs = self.forward(images)
            loss = F.cross_entropy(outputs, targets, label_smoothing=recipe.label_smoothing)
            extra = method.extra_loss(outputs, targets)
        total = loss if extra is None else loss + extra
        # A rank with fewer images than its share weighs accordingly, so that the average over
        # ranks is the mean over the global batch.
        size = self.job.batches.share.global_size(self.step % self.per_epoch)
        weight = len(targets) * world_size() / size
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(total if weight == 1.0 else total * weight).backward()
        self.scaler.unscale_(self.optimizer)
        method.after_backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        method.after_step()
        self.loss_sum += loss.detach()
        self.loss_steps += 1

    def _show(self, images_per_s: float) -> None:
        """Look at the loss: refuse a broken one, report a good one."""
        mean = float(self.loss_sum) / max(1, self.loss_steps)
        if mean != mean or mean in (float("inf"), float("-inf")):
            recipe = self.recipe
            msg = (
                f"the loss is {mean} at step {self.step} (lr {recipe.optimizer.lr:g}, "
                f"{recipe.precision}); the last good state is kept. Try a lower rate: "
                f"--set optimizer.lr={recipe.optimizer.lr / 10:g} --fresh"
            )
            raise ProtocolError(msg)
        facts = {"loss": mean, "img/s": images_per_s}
        if self.history:
            facts["top1"] = self.history[-1]["top1_pct"]
            facts["sparsity"] = self.history[-1]["sparsity_pct"]
        steps = CHECK_EVERY if self.step % CHECK_EVERY == 0 else self.step % CHECK_EVERY
        self.job.progress.advance(steps, **facts)

    def _close_epoch(self, epoch: int) -> None:
        """Evaluate if it is due, and write the epoch into the history."""
        job = self.job
        final = self.step == self.total
        if not final and (epoch + 1) % job.evaluate_every:
            return
        self.last = job.evaluate(job.model)
        zeros = sparsity(job.model)
        row = {
            "epoch": float(epoch),
            "train_loss": float(self.loss_sum) / max(1, self.loss_steps),
            "top1_pct": self.last.counts.top1_pct,
            "test_loss": self.last.counts.loss,
            "sparsity_pct": 100.0 * zeros.sparsity(),
            "collapsed_layers": float(len(zeros.collapsed)),
            "lr": self.optimizer.param_groups[0]["lr"],
        }
        self.history.append(row)
        job.progress.note(
            f"epoch {epoch + 1}/{self.epochs}  loss {row['train_loss']:.4f}  "
            f"top-1 {row['top1_pct']:.2f} %  sparsity {row['sparsity_pct']:.2f} %"
        )

    def _reset_loss(self) -> None:
        self.loss_sum.zero_()
        self.loss_steps = 0

    def _save(self) -> None:
        if rank() == 0:
            self.job.folder.save_state(
                {
                    "step": self.step,
                    "model": self.job.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "method": self.method.state_dict(),
                    "generators": generator_states(),
                    "history": self.history,
                    "loss_sum": self.loss_sum,
                    "loss_steps": self.loss_steps,
                    "wall_s": self._wall(),
                }
            )
        wait_for_all()

    def resume(self) -> None:
        """Continue where the run folder left off, if it did."""
        state = self.job.folder.load_state()
        if state is None:
            return
        self.job.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.method.load_state_dict(state["method"])
        restore_generators(state["generators"])
        self.step = state["step"]
        self.history = state["history"]
        self.loss_sum.copy_(state["loss_sum"])
        self.loss_steps = state["loss_steps"]
        self.wall_before = state["wall_s"]
        self.job.progress.note(f"resumed at step {self.step} of {self.total}")

    def _leave(self) -> None:
        self._save()
        name = signal.Signals(self.stop_signal or signal.SIGTERM).name
        msg = f"{name}: saved at step {self.step} of {self.total}. The same command continues"
        raise Preempted(msg)

    def _wall(self) -> float:
        return self.wall_before + time.perf_counter() - self.started

    def outcome(self) -> Trained:
        """The finished run."""
        assert self.last is not None, "run() evaluates at the end"
        best = max(self.history, key=lambda row: row["top1_pct"], default=None)
        final = self.last.counts.top1_pct
        return Trained(
            model=self.method.finalize(self.job.model).eval(),
            last=self.last,
            best_top1_pct=best["top1_pct"] if best else final,
            best_epoch=int(best["epoch"]) if best else 0,
            epochs=self.step / self.per_epoch,
            steps=self.step,
            wall_s=self._wall(),
            history=tuple(self.history),
        )


def _autocast(precision: str, device: str) -> Any:
    if precision == "fp32":
        return nullcontext()
    kind = torch.bfloat16 if precision == "amp-bf16" else torch.float16
    return torch.autocast(torch.device(device).type, dtype=kind)


@contextmanager
def _signals(loop: _Loop) -> Iterator[None]:
    """SIGTERM and Ctrl-C set a flag that the loop looks at after each step."""

    def remember(number: int, _frame: object) -> None:
        loop.stop_signal = number

    wanted = (signal.SIGTERM, signal.SIGINT)
    try:
        before: dict[int, Any] = {number: signal.signal(number, remember) for number in wanted}
    except ValueError:  # not the main thread: the caller handles signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
