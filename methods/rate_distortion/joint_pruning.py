"""The joint solver on a network: where it starts, what it measures on, and what is kept of it.

It starts from LAMP, ERK, uniform, uniform+ and global magnitude, each brought to the exact count,
searches on few images from the best of them and on all images from the best point of all.

Where fine-tuning follows, the least distortion misleads: much of it is a shift that batch norms
take out again as soon as the network trains, and a layer that is nearly empty costs more after
training than before. norms="refitted" measures without the first; lamp_floor bounds the second.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from methods.allocation import ALLOCATIONS, Counts, exact
from methods.inventory import Weight
from methods.masks import Masks
from methods.measurement_store import MeasurementStore
from methods.rate_distortion.distortion import BATCH_SIZE, Reduction
from methods.rate_distortion.joint_distortion import JointDistortion, Kept, Norms
from methods.rate_distortion.joint_search import (
    MOST_STEPS,
    JointSolution,
    OnStep,
    Position,
    solve_joint,
)

FEW_IMAGES = 64  # what starts are searched from on, where there are more
_KEPT = "kept"  # the stored part that holds the answer; others are positions of searches


class JointSearch:
    """One pruning event of the joint solver."""

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        layers: Mapping[str, Weight],
        masks: Masks,
        reduction: Reduction,
        batch_size: int = BATCH_SIZE,
        norms: Norms = "kept",
        lamp_floor: float = 0.0,
    ) -> None:
        """images: (M, C, H, W), normalised. masks: layer -> what is left of it, bool.

        norms: see `JointDistortion`. lamp_floor: no layer gets below this share of LAMP's count;
        the rules to start from are brought there first.
        """
        self._given = (model, layers, masks, reduction, batch_size, norms)
        self._images, self._lamp_floor = images, lamp_floor
        self.solution: JointSolution | None = None  # of the last solve
        self.passes = 0.0  # forward passes over all images that it took; a backward one is two

    def solve(
        self,
        left: int,
        known: Mapping[str, Position] | None = None,
        on_step: OnStep = lambda search, position: None,
    ) -> Counts:
        """Weights kept per layer, `left` in all; what the layers have, if that is less.

        known, on_step: see `solve_joint`. Raises ValueError for logits that are not finite.
        """
        problem = self._problem(self._images)
        live = dict(zip(problem.names, problem.live, strict=True))
        if left >= sum(problem.live):
            return live
        every = -(-len(self._images) // FEW_IMAGES)
        few = self._problem(self._images[::every]) if every > 1 else None
        starts = self._starts(live, left)
        if self._lamp_floor:
            least = tuple(int(self._lamp_floor * count) for count in starts["lamp"])
            starts = {rule: raised(kept, starts["lamp"], least) for rule, kept in starts.items()}
            for each in (problem, few) if few else (problem,):
                each.least = tuple(max(1, count) for count in least)
        self.solution = solve_joint(problem, starts, few, known, on_step)
        share = len(self._images[::every]) / len(self._images)
        self.passes = problem.passes + (few.passes * share if few else 0.0)
        return dict(zip(problem.names, self.solution.kept, strict=True))

    def solve_and_store(self, left: int, store: MeasurementStore, question: str) -> Counts:
        """`solve`, from where the store has it: an answer costs nothing, a step is never lost."""
        _, layers, *_ = self._given
        parts = store.load(question)
        if _KEPT in parts and parts[_KEPT].shape == (len(layers),):
            return dict(zip(layers, map(int, parts[_KEPT]), strict=True))
        known = {name: _position(part) for name, part in parts.items() if name != _KEPT}
        steps = {name: position.steps for name, position in known.items()}

        def on_step(search: str, position: Position) -> None:
            store.save(question, search, _stored(position))
            steps[search] = MOST_STEPS if position.done else position.steps
            store.progress(sum(steps.values()), MOST_STEPS * (len(steps) + 1))

        kept = self.solve(left, known, on_step)
        store.save(question, _KEPT, torch.tensor(list(kept.values())))
        if self.solution is not None:
            first = self.solution.starts[self.solution.start]
            store.note(
                f"joint solver: from {self.solution.start} with distortion {first:.4g} to "
                f"{self.solution.distortion:.4g}, in {self.passes:.0f} passes over the images"
            )
        return kept

    def _problem(self, images: Tensor) -> JointDistortion:
        model, layers, masks, reduction, batch_size, norms = self._given
        return JointDistortion(model, images, layers, masks, reduction, batch_size, norms)

    def _starts(self, live: Counts, left: int) -> dict[str, Kept]:
        """Rule -> weights kept per layer, `left` in all; rules that cannot do it are left out."""
        _, layers, masks, *_ = self._given
        weights = {name: layer.stored.detach() for name, layer in layers.items()}
        there = {name: masks[name] & (weights[name] != 0) for name in weights}
        starts = {}
        for name, rule in ALLOCATIONS.items():
            try:
                kept = rule(weights, there, 1 - left / sum(live.values()))
            except ValueError:  # uniform+ is infeasible at some targets
                continue
            starts[name] = tuple(exact(kept, live, left).values())
        return starts


def raised(kept: Kept, lamp: Kept, least: Kept) -> Kept:
    """The allocation nearest to `kept`, on the way there from LAMP's, that has `least` everywhere.

    All three: weights per layer; `kept` and `lamp` of one sum, which the result has, too, and
    least <= lamp.
    """
    way = min(
        ((b - c) / (b - a) for a, b, c in zip(kept, lamp, least, strict=True) if a < c),
        default=1.0,
    )
    if way == 1.0:
        return kept
    ends = [(b + way * (a - b), a, c) for a, b, c in zip(kept, lamp, least, strict=True)]
    counts = {str(i): max(floor, int(x)) for i, (x, _, floor) in enumerate(ends)}
    upper = {str(i): max(a, b) for i, (a, b) in enumerate(zip(kept, lamp, strict=True))}
    return tuple(exact(counts, upper, sum(lamp)).values())


def _stored(position: Position) -> Tensor:
    return torch.tensor([position.step, position.steps, *position.kept], dtype=torch.float64)


def _position(part: Tensor) -> Position:
    step, steps, *kept = part.tolist()
    return Position(tuple(map(int, kept)), step, int(steps))
