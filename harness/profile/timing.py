"""Latency: ways of running one network, timed in turns, so that whatever slows the machine down
slows all of them down alike. Wall time, float32, inference mode.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from harness.errors import ProtocolError
from harness.results import Latency, LayerTiming, Times, interval_width

MIN_REPEATS = 30
WARMUP = 5
WARMUP_PASSES = 2
BURST = 3
SETTLE_S = 0.25  # onnxruntime's threads were seen spinning for 0.1 s after its last pass
Way = TypeVar("Way", bound=Hashable)
_NORMS = (nn.BatchNorm2d, nn.GroupNorm)


@dataclass(frozen=True, slots=True)
class Precision:
    """How well medians are to be known: `width` of their 95 % interval relative to them.

    most: passes after which a noisy machine is left alone, however wide the interval.
    """

    width: float = 0.05
    most: int = 120


def compare(networks: Mapping[str, nn.Module], images: Tensor, warmup: int = WARMUP) -> Latency:
    """Times of `networks` on the same `images` (N,C,H,W), one at a time, the first as reference.

    Every image is one repeat, since a dynamic network takes its own time for each. Networks are
    copied into the plain memory layout first. Raises ProtocolError below 30 images.
    """
    plain = {
        name: copy.deepcopy(network).to(memory_format=torch.contiguous_format).eval()
        for name, network in networks.items()
    }
    inputs = [image[None].contiguous() for image in images]
    times = interleaved(plain, inputs, warmup)
    convolutions = [
        name for name, m in next(iter(plain.values())).named_modules() if isinstance(m, nn.Conv2d)
    ]
    layers = {name: layer_times(net, convolutions, inputs) for name, net in plain.items()}
    return Latency(
        ms=times,
        layers=tuple(
            LayerTiming(name=name, ms_p50={way: ms[name] for way, ms in layers.items()})
            for name in convolutions
        ),
        batch=1,
        repeats=len(inputs),
        warmup=warmup,
        device=images.device.type,
        threads=torch.get_num_threads(),
    )


def interleaved(
    functions: Mapping[str, Callable[[Tensor], object]],
    inputs: Sequence[Tensor],
    warmup: int = WARMUP,
) -> dict[str, Times]:
    """Milliseconds of each function per input: quartiles and 90th percentile.

    For every input all functions run one after the other. The first `warmup` inputs are also run
    beforehand, untimed. Raises ProtocolError below 30 inputs.
    """
    require_repeats(len(inputs))
    taken: dict[str, list[float]] = {name: [] for name in functions}
    with torch.inference_mode():
        for value in inputs[:warmup]:
            for function in functions.values():
                function(value)
        for value in inputs:
            for name, function in functions.items():
                start = _now(value)
                function(value)
                taken[name].append(1e3 * (_now(value) - start))
    return {name: times_of(ms) for name, ms in taken.items()}


def times_of(ms: Sequence[float]) -> Times:
    """Quartiles and 90th percentile of at least two times, linear between neighbours."""
    p25, p50, p75 = statistics.quantiles(ms, n=4, method="inclusive")
    p90 = statistics.quantiles(ms, n=10, method="inclusive")[-1]
    return Times(n=len(ms), p25=p25, p50=p50, p75=p75, p90=p90)


def in_turns(
    ways: Mapping[Way, Callable[[Tensor], object]],
    images: Tensor,
    repeats: int,
    burst: int = BURST,
    after_round: Callable[[int], None] = lambda passes: None,
    clock: Callable[[Tensor], float] | None = None,
    until: Precision | None = None,
) -> dict[Way, list[float]]:
    """Milliseconds of each way over `images`, `repeats` of them apiece.

    until: more, in whole turns, until every median is known that well or `until.most` are taken.

    Each way is first run WARMUP_PASSES times. A turn is SETTLE_S or more of untimed passes, which
    bring the way's weights into the caches while threads of the previous one fall asleep, then
    `burst` timed ones. Every second round goes backwards, so that no way always follows the same.
    after_round: called with the timed passes that the round added. Raises ProtocolError below 30.
    """
    require_repeats(repeats)
    now = clock or _now
    taken: dict[Way, list[float]] = {way: [] for way in ways}
    order = list(ways.items())
    with torch.inference_mode():
        for forward in ways.values():
            for _ in range(WARMUP_PASSES):
                forward(images)
        for passes in _turns(repeats, burst, taken, until):
            for way, forward in order:
                settled = now(images) + SETTLE_S
                forward(images)
                while now(images) < settled:
                    forward(images)
                for _ in range(passes):
                    start = now(images)
                    forward(images)
                    taken[way].append(1e3 * (now(images) - start))
            order.reverse()
            after_round(passes)
    return taken


def _turns(
    repeats: int, burst: int, taken: Mapping[Way, list[float]], until: Precision | None
) -> Iterator[int]:
    """Passes of each turn; looks at what was taken before every turn beyond `repeats`."""
    for done in range(0, repeats, burst):
        yield min(burst, repeats - done)
    if until is None:
        return
    for done in range(repeats, until.most, burst):
        if all(interval_width(ms) <= until.width for ms in taken.values()):
            return
        yield min(burst, until.most - done)


def require_repeats(repeats: int) -> None:
    """Raises ProtocolError below 30: fewer say little about a 90th percentile."""
    if repeats < MIN_REPEATS:
        msg = f"{repeats} repeats are too few for percentiles; give at least {MIN_REPEATS}"
        raise ProtocolError(msg)


def layer_times(
    network: nn.Module, names: Sequence[str], inputs: Sequence[Tensor]
) -> dict[str, float]:
    """Layer -> median milliseconds inside it, hooks (mask heads) included.

    A normalisation counts with the layer that ran before it, since others have it folded in.
    """
    watch = _Watch(inputs[0])
    handles = []
    for name, module in network.named_modules():
        if name in names or isinstance(module, _NORMS):
            key = name if name in names else None
            handles.append(module.register_forward_pre_hook(watch.start, prepend=True))
            handles.append(module.register_forward_hook(watch.stopper(key)))
    taken: dict[str, list[float]] = {name: [] for name in names}
    try:
        with torch.inference_mode():
            for value in inputs:
                watch.spent.clear()
                network(value)
                for name in names:
                    taken[name].append(1e3 * watch.spent.get(name, 0.0))
    finally:
        for handle in handles:
            handle.remove()
    return {name: statistics.median(ms) for name, ms in taken.items()}


class _Watch:
    """Seconds spent per layer in one forward pass."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.spent: dict[str, float] = {}
        self.began = 0.0
        self.last = ""

    def start(self, *_: Any) -> None:
        self.began = _now(self.like)

    def stopper(self, name: str | None) -> Callable[..., None]:
        def stop(*_: Any) -> None:
            self.last = name or self.last
            spent = self.spent.get(self.last, 0.0)
            self.spent[self.last] = spent + _now(self.like) - self.began

        return stop


def _now(like: Tensor) -> float:
    """The clock, once everything queued on the device of `like` is done."""
    if like.is_cuda:
        torch.cuda.synchronize(like.device)
    return time.perf_counter()
