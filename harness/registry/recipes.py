"""Training and pruning protocols as frozen types, and the learning-rate rule."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.registry.entries import require_id, require_one_of
from harness.registry.fields import Fault, later, nearest, sha256

OPTIMIZERS = ("sgd", "adam", "adamw", "adadelta")
SCHEDULES = ("constant", "cosine", "multistep", "step", "inverse")
UNITS = ("epoch", "step")
INITS = (
    "default",
    "kaiming_fan_in",
    "kaiming_fan_out",
    "variance_scaling",
    "caffe_xavier",
    "glorot_normal",
)
PRECISIONS = ("fp32", "amp-fp16", "amp-bf16")
SPECIFIED_BY = ("paper", "code", "assumed")
PARTS = (
    "optimizer",
    "schedule",
    "length",
    "batch",
    "data",
    "initialisation",
    "pruning",
    "selection",
    "runs",
)
SELECTIONS = ("last", "best")
START_BASELINE = "baseline"  # Recipe.start: the weights of the entry's own baseline
_DURATION = re.compile(r"([0-9]{1,12})(ep|it)\Z")


def _at_least(record: object, bound: float, *names: str) -> None:
    for name in names:
        if getattr(record, name) < bound:
            raise Fault((name,), f"{getattr(record, name)} is below {bound:g}")


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of training: whole epochs ("160ep") or optimizer steps ("50000it")."""

    count: int
    unit: str  # epoch | step

    @classmethod
    def parse(cls, text: object) -> Duration:
        """The duration written as `text`. Raises Fault for anything but "160ep" or "500it"."""
        match = _DURATION.match(text) if isinstance(text, str) else None
        if match is None:
            raise Fault((), f'expected a duration such as "160ep" or "500it", found {text!r}')
        return cls(int(match[1]), "epoch" if match[2] == "ep" else "step")

    def to_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps."""
        return self.count * steps_per_epoch if self.unit == "epoch" else self.count

    def to_epochs(self, steps_per_epoch: int) -> int:
        """Epochs, the last one possibly incomplete."""
        return self.count if self.unit == "epoch" else math.ceil(self.count / steps_per_epoch)

    def as_text(self) -> str:
        """Inverse of parse."""
        return f"{self.count}{'ep' if self.unit == 'epoch' else 'it'}"

    __str__ = as_text


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An optimizer of torch.optim and its numbers; each ignores those that are not its own."""

    name: str  # sgd | adam | adamw | adadelta
    lr: float
    momentum: float = 0.0  # sgd
    nesterov: bool = False  # sgd
    weight_decay: float = 0.0  # on every parameter, normalisation and biases included
    betas: tuple[float, float] = (0.9, 0.999)  # adam, adamw
    eps: float = 1e-8  # adam, adamw, adadelta
    rho: float = 0.9  # adadelta
    bias_lr_factor: float = later(1.0)  # biases learn at this multiple of lr (Caffe's lr_mult)

    def __post_init__(self) -> None:
        require_one_of("name", self.name, OPTIMIZERS)
        _at_least(self, 0.0, "lr", "weight_decay", "eps", "bias_lr_factor")
        for name in ("momentum", "rho"):
            if not 0 <= getattr(self, name) < 1:
                raise Fault((name,), f"{getattr(self, name)} is outside [0, 1)")
        if self.nesterov and self.momentum == 0:
            raise Fault(("nesterov",), "Nesterov needs a momentum above 0")


@dataclass(frozen=True, slots=True)
class LrSchedule:
    """How the learning rate moves. Positions count from 0, in `unit`s.

    constant   the base rate
    cosine     0.5 (1 + cos(pi (p-w)/(T-w))) of the base rate, T = t_max or the run's length
    multistep  x gamma at each milestone: the first position that has the lower rate
    step       x gamma every `every`
    inverse    x (1 + gamma p)^-power (Caffe's policy "inv")
    Warm-up of w: (p+1)/w of the base rate at position p < w.
    """

    kind: str = "constant"
    unit: str = "epoch"  # epoch | step: what the rate changes with
    warmup: int = 0  # units
    milestones: tuple[int, ...] = ()
    every: int | None = None
    gamma: float = 0.1
    t_max: int | None = None  # units
    power: float | None = later(None)  # inverse

    def __post_init__(self) -> None:
        require_one_of("kind", self.kind, SCHEDULES)
        require_one_of("unit", self.unit, UNITS)
        _at_least(self, 0, "warmup", "gamma")
        if (self.kind == "multistep") != bool(self.milestones):
            raise Fault(("milestones",), "milestones belong to kind multistep, which needs them")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise Fault(("milestones",), f"{list(self.milestones)} does not ascend")
        if (self.kind == "step") != (self.every is not None):
            raise Fault(("every",), "`every` belongs to kind step, which needs it")
        if (self.kind == "inverse") != (self.power is not None):
            raise Fault(("power",), "`power` belongs to kind inverse, which needs it")
        if self.every is not None and self.every < 1:
            raise Fault(("every",), f"{self.every} is below 1")
        if self.t_max is not None and (self.kind != "cosine" or self.t_max <= self.warmup):
            raise Fault(("t_max",), "t_max belongs to kind cosine and is longer than its warm-up")


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What happens to training pictures, in this order."""

    random_resized_crop: int | None = None  # side in pixels; scale 0.08-1, ratio 3/4-4/3, bilinear
    flip: bool = False  # horizontal, one half of the pictures
    crop_padding: int = 0  # random crop of the picture's own size after zero padding, pixels
    cutout: int = 0  # side of one zeroed square, pixels
    rotation_degrees: tuple[float, float] | None = None  # uniform between the two, zero fill

    def __post_init__(self) -> None:
        _at_least(self, 0, "crop_padding", "cutout")


@dataclass(frozen=True, slots=True)
class PruneRounds:
    """Rounds of pruning, each followed by fine-tuning with a fresh optimizer and schedule."""

    count: int
    amount: float | None  # fraction of what is left that each round removes; null: the settings say
    finetune: Duration  # after each round
    lr: float | None = later(None)  # of the fine-tuning; null = the recipe's
    # Training images that give batch norms new statistics after each pruning event; null = none.
    recalibrate: int | None = later(None)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise Fault(("count",), f"{self.count} rounds; at least 1 is needed")
        if self.recalibrate is not None and self.recalibrate < 1:
            raise Fault(("recalibrate",), f"{self.recalibrate} images; at least 1 is needed")
        if self.amount is not None and not 0 < self.amount < 1:
            raise Fault(("amount",), f"{self.amount} is outside (0, 1)")
        if self.lr is not None:
            _at_least(self, 0.0, "lr")

    @property
    def targets(self) -> tuple[float | None, ...]:
        """Sparsity after each round; None where the method's settings say."""
        if self.amount is None:
            return (None,) * self.count
        return tuple(1 - (1 - self.amount) ** t for t in range(1, self.count + 1))


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named, versioned protocol.

    With `prune`, `length` is the training before the first round: "0ep" when weights are loaded.
    """

    name: str
    version: int
    length: Duration
    batch: int  # over all processes
    optimizer: Optimizer
    # paper: every number is from the paper or its code | code: from the code, where the paper says
    # otherwise or nothing | assumed: the note says what had to be assumed
    specified_by: str
    schedule: LrSchedule = LrSchedule()
    label_smoothing: float = 0.0
    augmentation: Augmentation = Augmentation()
    drop_last: bool = False  # leave out an incomplete last batch
    validation_frac: float = 0.0  # random part of the training set held back
    train_images: int | None = later(None)  # evenly spread; None = all
    random_labels: int = later(0)  # training images whose labels are drawn anew, by seed
    init: str = "default"
    start: str | None = None  # registry id whose weights the run starts from, or "baseline"
    prune: PruneRounds | None = None
    precision: str = "fp32"
    settings: Mapping[str, object] = field(default_factory=dict)  # of the method; entries override
    # Epoch the source prints and starts its next stage from; "best" = on the test set. Our number
    # is the last epoch's either way; the best one's weights are then kept beside it.
    selects: str = later("last")
    # Who says what, part by part (PARTS -> SPECIFIED_BY); "assumed" parts are ours, and a verdict
    # names them. Empty = as `specified_by` says of all of them.
    parts: Mapping[str, object] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        require_id("name", self.name)
        require_one_of("specified_by", self.specified_by, SPECIFIED_BY)
        require_one_of("init", self.init, INITS)
        require_one_of("precision", self.precision, PRECISIONS)
        require_one_of("selects", self.selects, SELECTIONS)
        _at_least(self, 1, "version", "batch")
        _at_least(self, 0, "random_labels")
        if self.train_images is not None:
            _at_least(self, 1, "train_images")
        for name in ("label_smoothing", "validation_frac"):
            if not 0 <= getattr(self, name) < 1:
                raise Fault((name,), f"{getattr(self, name)} is outside [0, 1)")
        if self.specified_by == "assumed" and not self.note:
            raise Fault(("note",), "an assumed recipe needs a note that says what is assumed")
        self._check_parts()

    def _check_parts(self) -> None:
        for part, source in self.parts.items():
            if part not in PARTS:
                raise Fault(("parts", part), f"unknown part{nearest(part, PARTS)}", on_key=True)
            if source not in SPECIFIED_BY:
                msg = f"unknown source {source!r}{nearest(str(source), SPECIFIED_BY)}"
                raise Fault(("parts", part), msg)
        if self.parts and bool(self.assumed_parts) != (self.specified_by == "assumed"):
            msg = f"parts assumed: {', '.join(self.assumed_parts) or 'none'}, contrary to"
            raise Fault(("specified_by",), f"{msg} specified_by: {self.specified_by}")

    def steps(self, per_epoch: int) -> int:
        """Of the optimizer in one run, fine-tuning after every round included."""
        after = self.prune.count * self.prune.finetune.to_steps(per_epoch) if self.prune else 0
        return self.length.to_steps(per_epoch) + after

    @property
    def assumed(self) -> str:
        """What of the protocol is ours, in words; "" if nothing is."""
        if self.specified_by != "assumed":
            return ""
        return ", ".join(self.assumed_parts) or self.note

    @property
    def assumed_parts(self) -> tuple[str, ...]:
        """The parts of the protocol that are ours, in the order of PARTS."""
        return tuple(part for part in PARTS if self.parts.get(part) == "assumed")


def recipe_sha256(recipe: Recipe) -> str:
    """Hash of the protocol without what is only told of it."""
    return sha256(recipe, without=("note", "parts"))


def learning_rate(
    schedule: LrSchedule, base_lr: float, step: int, steps_per_epoch: int, total_steps: int
) -> float:
    """Learning rate of optimizer step `step`, counted from 0 over the whole run.

    base_lr: the recipe's rate. With unit "epoch" the rate is constant within an epoch.
    """
    by_epoch = schedule.unit == "epoch"
    position = step // steps_per_epoch if by_epoch else step
    if position < schedule.warmup:
        return base_lr * (position + 1) / schedule.warmup
    if schedule.kind == "cosine":
        length = math.ceil(total_steps / steps_per_epoch) if by_epoch else total_steps
        end = length if schedule.t_max is None else schedule.t_max
        done = (position - schedule.warmup) / max(1, end - schedule.warmup)
        return base_lr * 0.5 * (1 + math.cos(math.pi * done))
    if schedule.kind == "multistep":
        return base_lr * schedule.gamma ** sum(position >= m for m in schedule.milestones)
    if schedule.kind == "step":
        assert schedule.every is not None
        return base_lr * schedule.gamma ** (position // schedule.every)
    if schedule.kind == "inverse":
        assert schedule.power is not None
        return base_lr * (1 + schedule.gamma * position) ** -schedule.power
    return base_lr
