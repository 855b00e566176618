"""Latency of a gated network with skipped filters against the dense network, interleaved.

Heads are random in weight, with biases shifted per layer until the wanted share of filters is on
for random images; every image has masks of its own. That is honest for timing (heads are computed,
masks change from image to image) and says nothing about accuracy.

  python -m benchmarks.ftwt_skip --model vgg16_bn_cifar --keep 0.58 --threads 1
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks import parsed
from harness.models import build
from harness.profile import layer_times
from methods.base import Schedule
from methods.ftwt import FTWT, FTWTSettings
from methods.ftwt.gates import gates_of
from methods.ftwt.skip import SkipConv, skip_filters

SIDE = {"resnet18": 224, "resnet34": 224, "mobilenetv1": 224}  # others: 32
HEAD_SCALE = 4.0  # spread of the random head weights: masks differ between images


def gated_with_share(dense: nn.Module, keep_frac: float, images: Tensor) -> nn.Module:
    """A gated copy of `dense` whose layers keep `keep_frac` of their filters on `images`.

    Layers are tuned first to last, since each sees the masks of those before it.
    """
    model = copy.deepcopy(dense)
    FTWT(FTWTSettings(softmax=True)).attach(model, Schedule(epochs=1, steps_per_epoch=1))
    model.eval()
    with torch.inference_mode(False), torch.no_grad():
        for gate in gates_of(model):
            gate.weight.mul_(HEAD_SCALE * gate.in_features**0.5)
            model(images)
            assert gate.logits is not None  # the pass just made
            gate.bias.sub_(gate.logits.flatten().quantile(1 - keep_frac))
    return model


def all_on(gated: nn.Module) -> nn.Module:
    """The skipping network with every gate open: the gain of its kernels and folding alone."""
    model = copy.deepcopy(gated)
    with torch.no_grad():
        for gate in gates_of(model):
            gate.weight.zero_()
            gate.bias.fill_(1.0)
    return skip_filters(model)


def interleaved(runs: dict[str, Callable[[Tensor], Tensor]], batches: list[Tensor]) -> None:
    """Print p50 and p90 of every run, timed in turns over `batches`.

    Wall time, and CPU time of the process, which other work on the machine disturbs less.
    """
    for run in runs.values():
        run(batches[0])
        run(batches[1])
    for kind, clock in (("wall", time.perf_counter), ("cpu", time.process_time)):
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for batch in batches:
            for name, run in runs.items():
                start = clock()
                run(batch)
                taken[name].append(1e3 * (clock() - start))
        reference = statistics.median(next(iter(taken.values())))
        for name, ms in taken.items():
            p50, p90 = statistics.median(ms), statistics.quantiles(ms, n=10)[-1]
            gain = reference / p50
            print(f"{name:<24} {kind:<4} p50 {p50:8.2f} ms   p90 {p90:8.2f} ms   {gain:5.2f} x")


def print_layers(dense: nn.Module, skipping: nn.Module, gated: nn.Module, batches: list) -> None:
    """Per layer: dense convolution + batch norm against head + gathered convolution."""
    layers = gates_of(gated).layers
    convs = [layer.conv for layer in layers]
    before = layer_times(dense, convs, batches)
    after = layer_times(skipping, convs, batches)
    gated(batches[0])
    active = gates_of(gated).active().double().mean(0).tolist()
    print(f"\n{'layer':<22}{'filters on':>14}{'dense ms':>11}{'skip ms':>10}{'gain':>8}")
    for layer, on in zip(layers, active, strict=True):
        conv = skipping.get_submodule(layer.conv)
        assert isinstance(conv, SkipConv)
        dense_ms, skip_ms = before[layer.conv], after[layer.conv]
        share, gain = f"{on:.0f}/{len(conv.bias)}", dense_ms / skip_ms
        print(f"{layer.conv:<22}{share:>14}{dense_ms:>11.3f}{skip_ms:>10.3f}{gain:>7.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="vgg16_bn_cifar")
    parser.add_argument("--keep", type=float, default=0.58, help="share of filters on, per layer")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--tuning", type=int, default=32, help="images that set the gates")
    arguments = parsed(parser, repeats=2, tuning=2)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    side = SIDE.get(arguments.model, 32)
    dense = build(arguments.model).eval()
    gated = gated_with_share(dense, arguments.keep, torch.randn(arguments.tuning, 3, side, side))
    batches = [torch.randn(arguments.batch, 3, side, side) for _ in range(arguments.repeats)]
    with torch.inference_mode():
        macs = FTWT.effective_macs(gated, batches)
        print(
            f"{arguments.model}, batch {arguments.batch}, {arguments.threads} thread(s), float32, "
            f"channels first, {arguments.repeats} interleaved repeats, random heads\n"
            f"reduction of MACs: reported {macs.reported.reduction_pct:.1f} %, "
            f"strict {macs.strict.reduction_pct:.1f} %\n"
        )
        skipping = skip_filters(gated)
        interleaved(
            {
                "dense": dense,
                "gated, dense kernels": gated,
                "skipping": skipping,
                "skipping, all filters on": all_on(gated),
            },
            batches,
        )
        print_layers(dense, skipping, gated, batches)


if __name__ == "__main__":
    main()
