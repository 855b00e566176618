"""Our training step, epoch and evaluation beside those that people use, in turns, in one process.

    python -m benchmarks.training_peers [--batch 128] [--turns 6] [--steps 20] [--small]

ResNet-20 on CIFAR-size pictures, milliseconds of a step with its pictures. Training: our loop; a
plain PyTorch loop over a DataLoader with torchvision's transforms, which is how torch-pruning's
benchmark trains and fine-tunes; its sparse training (the same loop with its group lasso); timm's
train script (its loader and transforms, its optimizer, a running loss). Evaluation: ours; a plain
DataLoader loop; timm's validate (top-1 and top-5 of each batch, running averages). A short epoch is
`--steps` steps and an evaluation of a fifth as many batches, as in CIFAR-10, with all that a loop
does around them. No worker processes: all rows have the same cores. Target: at most the others'
time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from statistics import median, quantiles

import torch
import torch_pruning
from PIL import Image
from timm.data import create_loader
from timm.optim import create_optimizer_v2
from timm.utils import AverageMeter, accuracy
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import parsed
from benchmarks.noise import noise_images
from benchmarks.training_step import MEAN, STD, Clock, our_turn
from harness.data import resident_batches
from harness.evaluation import evaluate
from harness.models import build
from harness.registry import load

Batches = Iterable[tuple[Tensor, Tensor]]
OURS, PLAIN, GROUP_LASSO, TIMM = "ours", "plain loop", "torch-pruning's group lasso", "timm"
NAMES = (OURS, PLAIN, GROUP_LASSO, TIMM)


class Pictures(Dataset[tuple[object, int]]):
    """Noise as Pillow images, through a transform, as folders and torchvision's CIFAR give them."""

    def __init__(self, count: int, transform: Callable[[object], object] | None) -> None:
        held = noise_images(count)
        self.transform, self.labels = transform, held.labels.tolist()
        self.images = [Image.fromarray(each.permute(1, 2, 0).numpy()) for each in held.images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[object, int]:
        image: object = self.images[row]
        return (self.transform(image) if self.transform else image), self.labels[row]


def plain_loader(count: int, batch: int, train: bool) -> Batches:
    """A DataLoader with the usual CIFAR transforms."""
    moved = [transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip()] if train else []
    whole = [*moved, transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    return DataLoader(Pictures(count, transforms.Compose(whole)), batch, shuffle=train)


def timm_loader(count: int, batch: int, train: bool) -> Batches:
    """timm's loader without its prefetcher, which needs a GPU."""
    loader: Batches = create_loader(
        Pictures(count, None),  # type: ignore[arg-type]  # any data set with a `transform` will do
        input_size=(3, 32, 32),
        batch_size=batch,
        is_training=train,
        use_prefetcher=False,
        mean=MEAN,
        std=STD,
        num_workers=0,
        crop_pct=1.0,
    )
    return loader


def group_lasso(model: nn.Module) -> Callable[[nn.Module], None]:
    """What torch-pruning adds to every gradient when it trains towards removable channels."""
    pruner = torch_pruning.pruner.GroupNormPruner(
        model,
        torch.zeros(1, 3, 32, 32),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        reg=1e-4,
        ignored_layers=[each for each in model.modules() if isinstance(each, nn.Linear)],
    )
    pruner.update_regularizer()
    regularize: Callable[[nn.Module], None] = pruner.regularize
    return regularize


def trained(
    model: nn.Module,
    batches: Batches,
    optimizer: torch.optim.Optimizer,
    clock: Clock,
    *,
    meter: bool = False,
    regularize: Callable[[nn.Module], None] | None = None,
) -> None:
    """A usual loop over one epoch. meter: keep timm's running loss."""
    losses = AverageMeter()
    model.train()
    for images, labels in batches:
        clock.tick()
        loss = F.cross_entropy(model(images), labels)
        if meter:
            losses.update(loss.item(), len(images))
        optimizer.zero_grad()
        loss.backward()
        if regularize:
            regularize(model)
        optimizer.step()
    clock.tick()
    clock.close()


def training_turn(name: str, model: nn.Module, batch: int, steps: int, clock: Clock) -> None:
    """One epoch of `steps` steps; a step is timed with the making of the next one's pictures."""
    if name == OURS:
        our_turn("dense", model, batch, steps, "cpu", clock)
    elif name != TIMM:
        sgd = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True)
        added = group_lasso(model) if name == GROUP_LASSO else None
        trained(model, plain_loader(batch * steps, batch, True), sgd, clock, regularize=added)
    else:
        timms = create_optimizer_v2(model, "sgd", lr=0.1, momentum=0.9, weight_decay=5e-4)
        trained(model, timm_loader(batch * steps, batch, True), timms, clock, meter=True)


@torch.inference_mode()
def evaluation_ms(name: str, model: nn.Module, batch: int, count: int) -> float:
    """Milliseconds a batch of a whole evaluation of `count` pictures."""
    model.eval()
    if name == OURS:
        ours = resident_batches(noise_images(count), load().evaluations["cifar10"], "cpu", batch)
        started = time.perf_counter()
        evaluate(model, ours)
    else:
        timms = name == TIMM
        loader = (timm_loader if timms else plain_loader)(count, batch, False)
        first, fifth, hits = AverageMeter(), AverageMeter(), 0
        started = time.perf_counter()
        for images, labels in loader:
            logits = model(images)
            if timms:
                top1, top5 = accuracy(logits, labels, topk=(1, 5))
                first.update(top1.item(), len(images))
                fifth.update(top5.item(), len(images))
            else:
                hits += int((logits.argmax(1) == labels).sum())
    return 1e3 * (time.perf_counter() - started) / -(-count // batch)


def lines(what: str, ms: dict[str, list[float]]) -> list[str]:
    """Rows of the table: median, quartiles, n, and how many times our time it takes."""
    made = []
    for name, each in ms.items():
        low, _, high = quantiles(each, n=4, method="inclusive")
        ratio = median(each) / median(ms[OURS])
        row = (what, name, f"{median(each):.1f}", f"{low:.1f}-{high:.1f}", str(len(each)))
        made.append(f"| {' | '.join(row)} | {ratio:.2f} |")
    return made


def turn(name: str, model: nn.Module, batch: int, steps: int, clock: Clock) -> tuple[float, float]:
    """Milliseconds of an evaluated batch, and of the short epoch that it belongs to."""
    started = time.perf_counter()
    training_turn(name, model, batch, steps, clock)
    evaluated = evaluation_ms(name, model, batch, batch * max(1, steps // 5))
    return evaluated, 1e3 * (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20, help="per turn; the first warms up")
    chosen = parsed(parser, batch=4, turns=2, steps=3)
    clocks = {name: Clock("cpu") for name in NAMES}
    evaluations: dict[str, list[float]] = {name: [] for name in NAMES}
    epochs: dict[str, list[float]] = {name: [] for name in NAMES}
    model = build("resnet20", num_classes=10)
    for _ in range(chosen.turns):
        for name in NAMES:
            evaluated, epoch = turn(name, model, chosen.batch, chosen.steps, clocks[name])
            evaluations[name].append(evaluated)
            epochs[name].append(epoch)
    del evaluations[GROUP_LASSO]  # evaluates as the plain loop does
    steps = {name: [1e3 * wall for wall, _ in clock.steps] for name, clock in clocks.items()}
    print(f"ResNet-20, batch {chosen.batch}, {torch.get_num_threads()} threads")
    print("\n| | | ms, median | p25-p75 | n | x ours |\n| --- | --- | ---: | ---: | ---: | ---: |")
    rows = [*lines("training step", steps), *lines("evaluated batch", evaluations)]
    print("\n".join([*rows, *lines(f"epoch of {chosen.steps} steps", epochs)]))


if __name__ == "__main__":
    main()
