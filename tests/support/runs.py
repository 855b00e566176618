"""Small runs: jobs inside this process, commands in processes of their own."""

import multiprocessing
import os
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from harness.data import ImageIdentity
from harness.data.batches import resident_batches
from harness.data.find_and_load import ImageSet
from harness.data.training_batches import TrainBatches
from harness.evaluation.protocol import evaluate
from harness.registry import Evaluation
from harness.registry.recipes import Duration, LrSchedule, Optimizer, Recipe
from harness.training.loop import TrainingTask
from harness.training.run_folder import RunFolder
from methods.dense import Dense
from tests.support import worker

EVALUATION = Evaluation(
    name="tiny",
    version=1,
    dataset="digits",
    split="test",
    mean=(0.5,),
    std=(0.25,),
    channels="gray",
)
DEADLINE_S = 120  # for one small command on a busy machine

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["pytest", "tests.support.worker"])


def images(count=40, seed=0, classes=4):
    """A random set of 6x6 gray pictures whose class shows in their brightness."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    noise = torch.randint(0, 80, (count, 1, 6, 6), generator=generator)
    pixels = (noise + 40 * labels[:, None, None, None]).to(torch.uint8)
    return ImageSet(
        ImageIdentity(
            dataset="tiny",
            split="train",
            fingerprint="f" * 64,
            copy_name="made up",
            n_total=count,
            approximate_images=0,
        ),
        pixels,
        labels,
    )


def network(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(8, 8, 3, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 4),
    )


RECIPE = Recipe(
    name="tiny",
    version=1,
    length=Duration(6, "epoch"),
    batch=8,
    optimizer=Optimizer("sgd", lr=0.05, momentum=0.9),
    schedule=LrSchedule("cosine"),
    specified_by="paper",
)


def job(folder, method=None, model=None, recipe=RECIPE, seed=0, device="cpu", **changes):
    """Five steps per epoch on made-up pictures."""
    batches = TrainBatches(
        images(),
        batch_size=recipe.batch,
        mean=EVALUATION.mean,
        std=EVALUATION.std,
        seed=seed,
        channels="gray",
        device=device,
    )
    test = resident_batches(images(16, seed=1), EVALUATION, device, batch_size=16)
    common = TrainingTask(
        model=(network() if model is None else model).to(device),
        method=method or Dense(Dense.Settings()),
        recipe=recipe,
        batches=batches,
        evaluate=lambda net: evaluate(net, test),
        folder=RunFolder(Path(folder), "key"),
        seed=seed,
        device=device,
    )
    return replace(common, **changes)


def weights_of(model):
    return {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def interrupted(kind, step):
    """`kind` as a method that sends this process SIGTERM just before the step numbered `step`."""

    class Interrupted(kind):
        def begin_step(self, number, *batch):
            super().begin_step(number, *batch)
            if number == step:
                os.kill(os.getpid(), signal.SIGTERM)

    return Interrupted


@dataclass
class Command:
    """`bench ARGUMENTS` in a process of its own, with a home folder of its own."""

    home: Path
    arguments: list
    save_every_s: float | None = None
    strike: tuple | None = None
    process: object = field(default=None, repr=False)

    @property
    def log(self):
        return self._log_file.read_text()

    @property
    def _log_file(self):
        return self.home / f"log-{id(self)}"  # commands at work in one home do not share it

    def start(self):
        self.home.mkdir(exist_ok=True)
        self.process = _PROCESSES.Process(
            target=worker.bench,
            args=(
                [str(a) for a in self.arguments],
                self.home,
                self._log_file,
                self.save_every_s,
                self.strike,
            ),
        )
        self.process.start()
        return self

    def finish(self, code=0):
        """Wait for the end and check the exit code; the output."""
        self.process.join(DEADLINE_S)
        assert self.process.exitcode == code, self.log
        return self.log

    def run(self, code=0):
        return self.start().finish(code)

    def final_bytes(self):
        (file,) = self.home.glob("runs/*/*/weights.safetensors")
        return file.read_bytes()
