"""The standardized training loop: one method, one recipe, one seed; resumable.

The loop knows no method. Order of events within a step is documented in methods.base. State is
saved after every epoch, every few minutes inside one, and on SIGTERM or Ctrl-C; a killed run
continues from the last save with the same data order, augmentation and generators; on a CPU the
final weights are bit-identical to those of an uninterrupted run. Under torchrun all processes
take every decision together (to save, to leave, to give up), or one would wait forever.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.data import FolderTrainBatches, TrainBatches
from harness.errors import MetricError, Preempted, ProtocolError
from harness.evaluation import Evaluated
from harness.profile import sparsity
from harness.registry import Recipe, learning_rate, method_refusals
from harness.system import (
    Progress,
    Silent,
    agreed,
    rank,
    refuse_differences,
    replicate,
    share_buffers,
    wait_for_all,
    world_size,
)
from harness.training.generators import generator_states, restore_generators
from harness.training.meter import Meter
from harness.training.network_speed import Speed, as_called, autocast
from harness.training.optimizers import build_optimizer, set_learning_rate, usual_groups
from harness.training.run_folder import RunFolder
from harness.training.signals import StopRequest, deferred, signal_name
from methods.base import Method, Schedule

CHECK_EVERY = 50  # steps between looks at the loss or at each other: a look waits for the device
HISTORY = tuple[dict[str, float], ...]


@dataclass(frozen=True, slots=True)
class TrainingTask:
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
    # Evaluated beside the test set; the history has NAME_top1_pct and NAME_loss of each.
    watched: Mapping[str, Callable[[nn.Module], Evaluated]] = field(default_factory=dict)
    attach: bool = True  # False: the method holds masks already (fine-tuning of a pruned model)


@dataclass(frozen=True, slots=True)
class Trained:
    """What a finished run hands over."""

    model: nn.Module  # plain module, eval mode
    last: Evaluated  # after the last step: the number
    best_top1_pct: float  # best evaluated epoch on the test set, kept apart
    best_epoch: int
    epochs: float
    steps: int  # of the optimizer
    wall_s: float  # over all sessions of a resumed run
    cpu_s: float  # likewise, of all threads of this process
    history: HISTORY


def train(job: TrainingTask) -> Trained:
    """Train to the end of the recipe, resuming if the run folder holds a state.

    Raises ProtocolError when loss or weights are not finite (the last good state is kept),
    Preempted after SIGTERM or Ctrl-C, once the state is saved.
    """
    loop = _Loop(job)
    loop.resume()
    with deferred() as stop:
        loop.run(stop)
    return loop.outcome()


class _Loop:
    """The moving parts of one run.

    step: position in the run, epoch * steps per epoch + batches done; a method that cuts an epoch
    short makes it jump. updates: optimizer steps really taken.
    """

    def __init__(self, job: TrainingTask) -> None:
        self.job = job
        self.recipe, self.method = job.recipe, job.method
        self.per_epoch = len(job.batches)
        self.total = self.recipe.length.to_steps(self.per_epoch)
        self.epochs = self.recipe.length.to_epochs(self.per_epoch)
        self._prepare()
        self.step = self.updates = 0
        self.lr = self.recipe.optimizer.lr
        self.history: list[dict[str, float]] = []
        self.last: Evaluated | None = None
        self.meter = Meter(job.device)
        self.wall_before = self.cpu_before = 0.0
        self.cpu_started = time.process_time()
        self.started = self.saved = self.shown = time.perf_counter()
        self.shown_step = self.images = 0  # images since the last look

    def _prepare(self) -> None:
        """Attach the method, then build what depends on the parameters it may have added."""
        job = self.job
        if job.attach:
            with method_refusals(f"{self.method.name} with recipe {self.recipe.name}"):
                self.method.attach(job.model, Schedule(self.epochs, self.per_epoch, job.seed))
        if job.speed.channels_last:
            job.model.to(memory_format=torch.channels_last)
        groups = self.method.parameter_groups(job.model)
        spec = self.recipe.optimizer
        self.optimizer = build_optimizer(spec, groups or usual_groups(job.model, spec))
        self.method.bind(self.optimizer)
        parallel = replicate(job.model, job.device)
        self.forward = as_called(parallel, job.speed, job.device)
        # Half precision needs its small gradients scaled up; everything else passes unchanged.
        self.scaler = torch.amp.GradScaler(
            torch.device(job.device).type, enabled=self.recipe.precision == "amp-fp16"
        )

    def run(self, stop: StopRequest) -> None:
        """All epochs that are left."""
        job = self.job
        job.progress.stage(f"train {self.recipe.name} seed {job.seed}", total=self.total)
        job.progress.advance(self.step)
        self.shown_step = self.step
        if self.step == 0 and job.attach and self.total:
            with method_refusals(f"{self.method.name} with recipe {self.recipe.name}"):
                self.method.begin_training(job.batches.epoch(0))
        while self.step < self.total:
            epoch, done = divmod(self.step, self.per_epoch)
            if done == 0:
                self.method.begin_epoch(epoch)
                self.meter.reset()
            self._epoch(epoch, done, stop)
            self._close_epoch(epoch)
            self._save()
            self._leave_if(agreed(stop.number)[0])
        if self.last is None:  # nothing to train, or resumed after the last epoch
            share_buffers(job.model)
            self.last = job.evaluate(job.model)

    def _epoch(self, epoch: int, done: int, stop: StopRequest) -> None:
        """The steps of one epoch from `done` on.

        Nothing is saved after the last of them: the epoch has to be closed first, or a resumed
        run would skip its evaluation.
        """
        end = min(self.total, (epoch + 1) * self.per_epoch)
        self.job.model.train()
        for images, targets in self.job.batches.epoch(epoch, done):
            self._train_step(images, targets)
            self.step += 1
            done += 1
            limit = self.method.batch_limit
            if self.step == end or (limit is not None and done >= limit):
                break
            self._between_steps(stop)
        self.step = end

    def _train_step(self, images: Tensor, targets: Tensor) -> None:
        """Forward, backward, step; nothing here waits for the device."""
        recipe, method, size = self.recipe, self.method, len(targets)
        set_learning_rate(self.optimizer, self._rate)
        if self.job.speed.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if self.job.speed.cuda_graphs:  # what the step before returned may be overwritten now
            torch.compiler.cudagraph_mark_step_begin()
        method.begin_step(self.step, images, targets)
        with autocast(recipe.precision, self.job.device):
            outputs = self.forward(images)
            loss = F.cross_entropy(outputs, targets, label_smoothing=recipe.label_smoothing)
            extra = method.extra_loss(outputs, targets)
        total = loss if extra is None else loss + extra
        # A rank with fewer images than its share weighs accordingly, so that the average over
        # ranks is the mean over the global batch.
        share = self.job.batches.share.global_size(self.step % self.per_epoch)
        weight = size * world_size() / share
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(total if weight == 1.0 else total * weight).backward()
        self.scaler.unscale_(self.optimizer)
        method.after_backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        method.after_step()
        self.updates += 1
        self.meter.add(loss.detach(), size)
        self.images += share

    def _rate(self, base: float) -> float:
        recipe = self.recipe
        rate = learning_rate(recipe.schedule, base, self.step, self.per_epoch, self.total)
        if base == recipe.optimizer.lr:
            self.lr = rate
        return rate

    def _between_steps(self, stop: StopRequest) -> None:
        """Look at the loss and the clock now and then; save and leave when asked to."""
        look = self.step % CHECK_EVERY == 0
        if look:
            self._show(self.meter.mean())
        if look or world_size() == 1:
            late = time.perf_counter() - self.saved > self.job.save_every_s
            number, save = agreed(stop.number, int(late))
            if number or save:
                self._refuse_nonfinite(self.meter.mean())
                self._save()
            self._leave_if(number)

    def _leave_if(self, number: int) -> None:
        if number:
            raise Preempted(
                f"{signal_name(number)}: saved at step {self.step} of {self.total}. "
                "The same command continues"
            )

    def _show(self, loss: float) -> None:
        """Refuse a broken loss, report a good one."""
        if not math.isfinite(loss):
            raise self._broken(f"the loss is {loss}")
        now = time.perf_counter()
        facts = {"loss": loss, "img/s": self.images / (now - self.shown)}
        if self.history:
            facts["top1"] = self.history[-1]["top1_pct"]
            facts["sparsity"] = self.history[-1]["sparsity_pct"]
        self.job.progress.advance(self.step - self.shown_step, **facts)
        self.shown, self.shown_step, self.images = now, self.step, 0

    def _refuse_nonfinite(self, loss: float) -> None:
        """Before anything is saved: one bad step breaks the weights before it shows in a loss."""
        if not math.isfinite(loss):
            raise self._broken(f"the loss is {loss}")
        norms = torch._foreach_norm([p.detach() for p in self.job.model.parameters()])
        if not torch.stack(norms).isfinite().all():
            raise self._broken("a weight is not finite")

    def _broken(self, what: str) -> ProtocolError:
        recipe = self.recipe
        return ProtocolError(
            f"{what} by step {self.step} of {self.total} (lr {self.lr:g}, {recipe.precision}); the "
            "last good state is kept, but this configuration will break again. A lower rate is "
            f"another configuration and starts afresh: --set optimizer.lr="
            f"{recipe.optimizer.lr / 10:g}"
        )

    def _close_epoch(self, epoch: int) -> None:
        """Evaluate if it is due, and write the epoch into the history."""
        job = self.job
        self.method.end_epoch(epoch)
        loss = self.meter.mean()
        self._show(loss)
        self._refuse_nonfinite(loss)
        refuse_differences(self.method.state_dict, self.recipe.name)
        if self.step < self.total and (epoch + 1) % job.evaluate_every:
            return
        share_buffers(job.model)
        try:
            self.last = job.evaluate(job.model)
        except MetricError as error:
            raise self._broken(str(error)) from error
        row = self._row(epoch, loss, self.last)
        if self.recipe.selects == "best" and rank() == 0:
            if all(row["top1_pct"] > earlier["top1_pct"] for earlier in self.history):
                job.folder.save_best(job.model.state_dict())
        self.history.append(row)
        job.progress.note(
            f"epoch {epoch + 1}/{self.epochs}  loss {loss:.4f}  top-1 {row['top1_pct']:.2f} %  "
            f"sparsity {row['sparsity_pct']:.2f} %"
        )

    def _row(self, epoch: int, loss: float, evaluated: Evaluated) -> dict[str, float]:
        zeros = sparsity(self.job.model)
        beside = {name: look(self.job.model).counts for name, look in self.job.watched.items()}
        return {
            "epoch": float(epoch),
            "train_loss": loss,
            "top1_pct": evaluated.counts.top1_pct,
            "test_loss": evaluated.counts.loss,
            "sparsity_pct": 100.0 * zeros.sparsity(),
            "collapsed_layers": float(len(zeros.collapsed)),
            "lr": self.lr,
            **{f"{name}_top1_pct": counts.top1_pct for name, counts in beside.items()},
            **{f"{name}_loss": counts.loss for name, counts in beside.items()},
        }

    def _save(self) -> None:
        """Replace the saved state; every process takes part, the first one writes."""
        losses = self.meter.total()
        if rank() == 0:
            self.job.folder.save_state(
                {
                    "step": self.step,
                    "updates": self.updates,
                    "lr": self.lr,
                    "model": self.job.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "method": self.method.state_dict(),
                    "generators": generator_states(),
                    "history": self.history,
                    "losses": losses,
                    "wall_s": self._wall(),
                    "cpu_s": self._cpu(),
                }
            )
        wait_for_all()
        self.saved = time.perf_counter()

    def resume(self) -> None:
        """Continue where the run folder left off, if it did."""
        state = self.job.folder.load_state()
        if state is None:
            return
        with self.job.folder.restoring("state.pt"):
            self.job.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.method.load_state_dict(state["method"])
            restore_generators(state["generators"])
            self.step, self.updates, self.lr = state["step"], state["updates"], state["lr"]
            self.history = state["history"]
            self.meter.restore(state["losses"])
            self.wall_before = state["wall_s"]
            self.cpu_before = state.get("cpu_s", 0.0)  # states of earlier versions have none
        self.job.progress.note(f"resumed at step {self.step} of {self.total}")

    def _wall(self) -> float:
        return self.wall_before + time.perf_counter() - self.started

    def _cpu(self) -> float:
        return self.cpu_before + time.process_time() - self.cpu_started

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
            steps=self.updates,
            wall_s=self._wall(),
            cpu_s=self._cpu(),
            history=tuple(self.history),
        )
