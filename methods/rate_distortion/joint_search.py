"""Who keeps how many weights, so that all layers together move the logits least.

Starts from what other rules choose and exchanges weights between layers for as long as the measured
joint distortion falls: every layer's next and last weights are priced by the gradient there, the
cheapest are given up for the dearest, the network is measured, and prices are taken anew. A step
that does not help is halved. Where none helps any more, exchanges between two layers are measured
one by one, the most promising first. So the result is never worse than the best start, and the
number of weights is the same at every step. Ours, not the published method; a local optimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count, product
from typing import Protocol

from methods.rate_distortion.joint_distortion import Kept, Worth

FIRST_STEP = 0.2  # share of a layer's weights that may move at once
LATER_STEP = 0.05  # where a search goes on that has been made on fewer images
LAST_STEP = 0.002
LARGEST_STEP = 0.5
GROWTH = 1.3  # of a step that helped
LEAST_GAIN = 1e-3  # a step that gains less than this share is followed by a shorter one
MOST_STEPS = 40
PAIR_STEPS = (0.2, 0.05, 0.0)  # 0: one weight
MOST_PAIRS = 18  # measured before a search ends; all there are for three layers
SMALL_LAYER = 0.02  # of its weights at least count as a layer's, so that an emptied one comes back
ALL = "all"  # the search on all images, the only one that tries pairs
EXPLORED = 3  # starts that are searched from


class Problem(Protocol):
    """What is minimised, as `JointDistortion` has it."""

    live: Kept
    least: Kept  # what exchanges leave every layer, at least 1

    def measure(self, kept: Kept) -> float:
        """The distortion."""

    def worth(self, kept: Kept) -> Worth:
        """What each weight takes off it, to first order."""


@dataclass(frozen=True)
class Position:
    """Where a search is: everything it needs to go on."""

    kept: Kept
    step: float  # the next one; below LAST_STEP: done
    steps: int = 0  # taken

    @property
    def done(self) -> bool:
        return self.step < LAST_STEP or self.steps >= MOST_STEPS


OnStep = Callable[[str, Position], None]


@dataclass(frozen=True)
class JointSolution:
    """What a search found on all images."""

    kept: Kept
    distortion: float
    start: str  # the rule that it was reached from
    starts: Mapping[str, float]  # measured distortion of every rule


def solve_joint(
    problem: Problem,
    starts: Mapping[str, Kept],
    few: Problem | None = None,
    known: Mapping[str, Position] | None = None,
    on_step: OnStep = lambda search, position: None,
) -> JointSolution:
    """The allocation of least joint distortion that exchanges reach from `starts`.

    starts: rule -> weights kept per layer, all of one sum. few: the same problem on fewer images;
    the best starts are searched there first, then the best point of all on all images.
    known: positions that on_step was given in an interrupted call; it goes on from there and ends
    at the same allocation. Raises ValueError if no start has finite logits.
    """
    known = known or {}
    first = {rule: problem.measure(kept) for rule, kept in starts.items()}
    if not any(map(math.isfinite, first.values())):
        raise ValueError("every start of the joint solver gives logits that are not finite")
    points = [(value, rule, starts[rule], FIRST_STEP) for rule, value in first.items()]
    if few is not None:
        ranked = sorted(starts, key=lambda rule: (few.measure(starts[rule]), rule))
        for rule in ranked[:EXPLORED]:
            search = f"few from {rule}"
            begin = known.get(search, Position(starts[rule], FIRST_STEP))
            position = descend(few, begin, search, on_step)
            points.append((problem.measure(position.kept), rule, position.kept, LATER_STEP))
    _, start, kept, step = min(points)
    found = descend(problem, known.get(ALL, Position(kept, step)), ALL, on_step)
    return JointSolution(found.kept, problem.measure(found.kept), start, first)


def descend(problem: Problem, position: Position, search: str, on_step: OnStep) -> Position:
    """Exchange weights from `position` on until no step helps; on_step gets every new position."""
    while not position.done:
        position = _next(problem, position, search)
        on_step(search, position)
    return position


def _next(problem: Problem, position: Position, search: str) -> Position:
    """The first better allocation along steps that halve; where there is none, the end."""
    worth, step = problem.worth(position.kept), position.step
    best = problem.measure(position.kept)
    while step >= LAST_STEP:
        moved = exchanged(worth, position.kept, problem.least, problem.live, step)
        gained = best - problem.measure(moved)
        if gained > 0:
            longer = gained > LEAST_GAIN * best
            step = min(LARGEST_STEP, step * GROWTH) if longer else step / 2
            return Position(moved, step, position.steps + 1)
        step /= 2
    pairs = _pairs(worth, position.kept, problem.least, problem.live) if search == ALL else ()
    for moved in pairs:
        if problem.measure(moved) < best:
            return Position(moved, LATER_STEP, position.steps + 1)
    return Position(position.kept, step, position.steps)


def _pairs(worth: Worth, kept: Kept, least: Kept, live: Kept) -> list[Kept]:
    """Allocations in which two layers have exchanged weights, the best by price first."""
    found = []
    for step in PAIR_STEPS:
        takers, givers = _offers(worth, kept, least, live, step)
        for taker, giver in product(takers, givers):
            if taker.layer != giver.layer:
                amount = min(taker.left, giver.left)
                moved = list(kept)
                moved[taker.layer] += amount
                moved[giver.layer] -= amount
                found.append((amount * (giver.price - taker.price), tuple(moved)))
    return [moved for _, moved in sorted(found)[:MOST_PAIRS]]


@dataclass
class _Offer:
    """Weights that a layer may take or give up, and what each is worth."""

    price: float
    layer: int
    left: int


def exchanged(worth: Worth, kept: Kept, least: Kept, live: Kept, step: float) -> Kept:
    """`kept` after the exchanges that the prices promise to pay, of the same sum.

    No layer takes or gives up more than the share `step` of what it has (of SMALL_LAYER of its live
    weights, if that is more), none goes below `least`, and none does both.
    """
    takers, givers = _offers(worth, kept, least, live, step)
    moved, sides = list(kept), dict[int, int]()
    taking, giving = iter(takers), iter(givers)
    taker, giver = next(taking, None), next(giving, None)
    while taker and giver and taker.price > giver.price:
        if not taker.left or sides.get(taker.layer, 1) < 0 or taker.layer == giver.layer:
            taker = next(taking, None)
        elif not giver.left or sides.get(giver.layer, -1) > 0:
            giver = next(giving, None)
        else:
            amount = min(taker.left, giver.left)
            for offer, sign in ((taker, 1), (giver, -1)):
                moved[offer.layer] += sign * amount
                offer.left -= amount
                sides[offer.layer] = sign
    return tuple(moved)


def _offers(
    worth: Worth, kept: Kept, least: Kept, live: Kept, step: float
) -> tuple[list[_Offer], list[_Offer]]:
    """What layers may take, the dearest first, and give up, the cheapest first."""
    takers, givers = [], []
    for layer, has, floor, most in zip(count(), kept, least, live, strict=False):
        size = max(1, int(step * max(has, SMALL_LAYER * most)))
        more, fewer = min(size, most - has), min(size, has - floor)
        if more > 0:
            price = worth.between(layer, has, has + more) / more
            takers.append(_Offer(price, layer, more))
        if fewer > 0:
            price = worth.between(layer, has - fewer, has) / fewer
            givers.append(_Offer(price, layer, fewer))
    takers.sort(key=lambda offer: (-offer.price, offer.layer))
    givers.sort(key=lambda offer: (offer.price, offer.layer))
    return takers, givers
