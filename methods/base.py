"""What a pruning method is: settings, and what it does around each training step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from torch import Tensor, nn


class Settings(BaseModel):
    """Base of every method's settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_disguised_number(cls, value: object, info: ValidationInfo) -> object:
        """pydantic would take "1_0", true and ٣ for numbers."""
        declared = cls.model_fields[str(info.field_name)].annotation
        kinds = get_args(declared) or (declared,)
        if isinstance(value, str | bool) and type(value) not in kinds and {int, float} & {*kinds}:
            raise ValueError("a number is needed")
        return value


@dataclass(frozen=True, slots=True)
class Schedule:
    """Length of the run a method is attached to. Epochs and steps count from 0."""

    epochs: int
    steps_per_epoch: int
    seed: int = 0  # for the method's own generators


class Method:
    """A pruning method. The defaults do nothing, so a subclass writes only what differs.

    The training loop calls, in this order:
      attach(model, schedule)                   once, after seeding and loading of start weights
      parameter_groups(model)                   once; None = one group with every parameter
      bind(optimizer)                           once
      begin_training(batches)                   once, before the first step of the run
      begin_epoch(epoch)                        before the first step of an epoch
      begin_step(step, images, targets)         before forward; step counts over the whole run
      extra_loss(outputs, targets)              after forward; added to the task loss
      after_backward()                          gradients exist
      after_step()                              the optimizer has stepped
      end_epoch(epoch)                          after the last step of an epoch, before evaluation
    then finalize(model) returns a plain module.
    A resumed run calls attach, bind and load_state_dict, and goes on where it was saved: inside an
    epoch without another begin_epoch, so state_dict holds what begin_epoch decided.
    Nothing here may synchronise with the host inside a step.
    """

    name: ClassVar[str]
    kind: ClassVar[Literal["static", "dynamic"]] = "static"  # dynamic: MACs depend on the input
    structured: ClassVar[bool] = False  # whole filters go, not single weights
    Settings: ClassVar[type[Settings]] = Settings
    # Settings that only choose which network `finalize` hands over: a finished run is asked again
    # for another one, from its last weights and state_dict, instead of being trained again.
    final_choices: ClassVar[tuple[str, ...]] = ()

    @property
    def batch_limit(self) -> int | None:
        """Batches the current epoch has, None = all; looked at after every step."""
        return None

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        """Wrap layers or create masks. Deterministic given the model and schedule.seed."""

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]] | None:
        """Optimizer groups, each {"params": [...]} plus overrides such as "weight_decay", "lr".

        The schedule moves a group's own "lr" as it does the recipe's; "constant_lr": True keeps it.
        """
        return None

    def bind(self, optimizer: torch.optim.Optimizer) -> None:
        """Hand over the optimizer, for methods that reset its state."""

    def begin_training(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Called before the first step, for methods that look at training images first.

        batches: the first epoch's (images (N,C,H,W), targets (N,)), made while they are iterated.
        """

    def begin_epoch(self, epoch: int) -> None:
        """Called before the first step of `epoch`."""

    def begin_step(
        self, step: int, images: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """Called before the forward pass of `step`."""

    def extra_loss(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """A scalar added to the task loss, or None."""
        return None

    def after_backward(self) -> None:
        """Called between backward and optimizer step."""

    def after_step(self) -> None:
        """Called after the optimizer step."""

    def end_epoch(self, epoch: int) -> None:
        """Called after the last step of `epoch`, before evaluation."""

    def prune(self, model: nn.Module, sparsity: float, images: Tensor | None = None) -> None:
        """One pruning event to `sparsity` (fraction of prunable weights that are zero afterwards).

        Only for methods used by the prune protocol (magnitude family, rate-distortion).
        images: calibration batch (N,C,H,W), normalised, or None.
        """
        raise TypeError(f"method {self.name!r} prunes while training; it has no one-shot form")

    def prune_round(self, model: nn.Module, number: int, count: int) -> None:
        """Pruning event `number` (from 1) of `count`, when the settings say how much goes.

        Called instead of `prune` by recipes whose rounds name no amount.
        """
        raise TypeError(
            f"the settings of {self.name!r} do not say how much goes; give the share per round: "
            "--set prune.amount=0.2"
        )

    def calibration_rows(self, total: int, folder: bool) -> Sequence[int] | None:
        """Which of the `total` training images `prune` looks at, ascending; None = no real ones.

        folder: the images are files sorted by class folder and name, not one array.
        """
        return None

    def calibration_images(self, shape: Sequence[int], seed: int) -> Tensor | None:
        """Made-up calibration images (M, *shape) float32; None = `calibration_rows` is asked."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to resume bit for bit: tensors, numbers, strings, lists, dicts."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of state_dict, called after attach."""

    def finalize(self, model: nn.Module) -> nn.Module:
        """A plain module with zeros in place (static) or a gated module (dynamic)."""
        return model

    def figures(self, model: nn.Module, batches: Iterable[Tensor]) -> Mapping[str, float | Tensor]:
        """What zeros do not tell about the finished `model`: name -> number, {} = nothing.

        model: from `finalize`, in eval mode. batches: evaluation images (N,C,H,W), normalised, on
        the model's device; a pass over them costs an evaluation, so only who needs one makes it.
        Names of published metrics ("kept_pct", "flops_reduction_pct") are compared with what was
        printed; others are shown as they are. An integer Tensor (images,) is one value per image:
        its mean counts as the number, its spread is kept. "effective_macs" are the multiply-
        accumulates of one image that are left, where zeros alone would mislead.
        """
        return {}

    def timed(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """Ways of running the finished `model` whose latency is worth comparing, {} = one way only.

        The dense network comes first: the others are measured against it.
        """
        return {}

    def expected(
        self, model: nn.Module, batches: Iterable[Tensor], values: Sequence[float]
    ) -> list[dict[str, float]]:
        """What each of `values` of the method's main setting would save, before any training.

        model: the dense network, eval mode. batches: images (N,C,H,W), normalised, on its device.
        One dict per value, the setting itself first. Raises ValueError for what cannot be tried.
        """
        raise TypeError(f"method {self.name!r} estimates nothing before training")

    def add_published(self, model: nn.Module, parts: Mapping[str, Tensor]) -> nn.Module:
        """`model` with what this method adds to it, loaded from `parts` of a published file.

        model: plain weights loaded. parts: tensors beside them, as the converted file names them.
        Raises ValueError naming parts that are missing or left over.
        """
        if parts:
            raise ValueError(f"method {self.name!r} adds nothing, but the file holds {len(parts)}")
        return model

    def export_published(self, model: nn.Module) -> dict[str, Any]:
        """Inverse of import_published: what the paper's code would save, tensors and containers."""
        raise TypeError(f"method {self.name!r} has no published file format to write")

    @staticmethod
    def import_published(raw: Mapping[str, Any]) -> dict[str, Tensor]:
        """The paper's file (already safely unpickled) -> plain torchvision-like keys. Pure."""
        raise TypeError("this method has no published file format")
