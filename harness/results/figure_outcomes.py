"""What is known of every published figure of a row, each judged by itself.

A row prints several figures, and they can be settled by different things: an accuracy needs the
weights and the images, a sparsity the weights alone, the parameters of a dense network nothing but
its architecture. So a row has no one status here; each of its figures has:

    outcome     what became of the printed figure, one of OUTCOMES
    basis       what settled it: "evaluated" (the published weights, on images), "counted" (the
                published weights alone), "retrained" (weights trained here) or "derived" (no
                weights: architecture, budget, printed density); None while nothing has
    waits_for   what would settle it: "file", "data", "training" or "gpu" that are not here, or
                "measurement" where all that is needed is here; None where it is settled, or where
                nothing would settle it
    comparison  published against measured, where anything was measured or derived
    reason      one line why; command: what settles it, or settles it once more; "" if nothing does

`figure_statuses` is pure: whoever lists claims, renders a paper's table or counts for the site
hands in what is stored and gets the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from harness.registry import Entry, Published
from harness.results import current
from harness.results.verdicts import Comparison

Outcome = Literal[
    "reproduced",
    "contradicted",
    "published figure inconsistent",
    "ambiguous preprocessing",  # stated in several variants, none of which gives it
    "not reached",  # by a protocol that is partly ours: contradicts nobody
    "doubtful",  # the cell is marked so in its source or in the specification
    "waits",
    "cannot be checked",
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Basis = Literal["evaluated", "counted", "retrained", "derived"]
FileMeans = Literal["here", "published", "gone", "none"]
Need = Literal["file", "data", "measurement", "training", "gpu"]

OF_IMAGES = frozenset(  # figures that nobody can know without running the network on images
    {
        "top1_pct",
        "top1_error_pct",
        "top3_pct",
        "top5_pct",
        "loss",
        "activations_pct",
        "gain_over_dense_pp",
        "early_gain_over_dense_pp",
    }
)
_OUTCOME_OF: Mapping[str, Outcome] = MappingProxyType(
    {
        **dict.fromkeys(("exact", "match", "near", "consistent", "reached"), "reproduced"),
        **dict.fromkeys(("inconsistent", "mismatch", "claim contradicted"), "contradicted"),
        "published figure inconsistent": "published figure inconsistent",
        "ambiguous preprocessing": "ambiguous preprocessing",
        "not reached": "not reached",
        "suspect": "doubtful",
    }
)
_MODES: Mapping[str, Basis] = MappingProxyType(
    {"evaluated": "evaluated", "counted": "counted", "trained": "retrained", "pruned": "retrained"}
)
_PREFERRED: tuple[Basis, ...] = ("evaluated", "counted", "retrained", "derived")
_NOTHING: Mapping[str, Comparison] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Means:
    """What there is to check a row with: the published file, and the images.

    file: "here" = verified on this machine, "published" = an address is known, "gone" = every
    address answered that it has nothing, "none" = never published. data: the data set is here.
    """

    file: FileMeans
    data: bool


@dataclass(frozen=True, slots=True)
class FigureStatus:
    """One published figure and what became of it; the fields are explained above."""

    entry: str
    figure: str  # a metric's name, or "metric.layer" of one layer
    published: Published
    outcome: Outcome
    basis: Basis | None
    waits_for: Need | None
    comparison: Comparison | None
    reason: str
    command: str


def outcome_of(status: str) -> Outcome | None:
    """What a comparison's status says of the printed figure; None if it is no judgement."""
    return _OUTCOME_OF.get(status)


def figure_statuses(
    entry: Entry,
    stored: Iterable[current.Judged],
    means: Means,
    derived: Mapping[str, Comparison] = _NOTHING,
    aliases: Mapping[str, str] = current.NO_ALIASES,
) -> tuple[FigureStatus, ...]:
    """One status per figure of `entry.published`, in that order.

    stored: results of any entries; those of this one count as `current.per_mode` says. derived:
    figure -> comparison with what follows without weights: `harness.evaluation.derived_figures`.
    aliases: former id -> today's, see `Registry.aliases`.
    """
    found: dict[Basis, Mapping[str, Comparison]] = {"derived": derived}
    for (name, mode), result in sorted(current.per_mode(stored, aliases).items()):
        if name == entry.id and mode in _MODES:
            found[_MODES[mode]] = result.metrics
    ordered = [(basis, found[basis]) for basis in _PREFERRED if basis in found]
    return tuple(
        _status(entry, figure, published, ordered, means)
        for figure, published in entry.published.items()
    )


def _status(
    entry: Entry,
    figure: str,
    published: Published,
    found: list[tuple[Basis, Mapping[str, Comparison]]],
    means: Means,
) -> FigureStatus:
    seen = [(basis, metrics[figure]) for basis, metrics in found if figure in metrics]
    judged = [(b, c) for b, c in seen if outcome_of(c.status) not in (None, "doubtful")]
    basis, comparison = next(iter(judged or seen), (None, None))
    needs: Need | None = None
    if published.suspect:
        outcome: Outcome | None = "doubtful"
        reason, command = published.note, ""
    elif judged and basis is not None and comparison is not None:
        outcome = outcome_of(comparison.status)
        reason, command = comparison.reason, _SHOWN_BY[basis].format(id=entry.id)
    else:
        outcome, needs, reason = _open(entry, figure, means)
        command = _command(entry, needs) if needs else ""
        basis = None
    assert outcome is not None
    return FigureStatus(
        entry.id, figure, published, outcome, basis, needs, comparison, reason, command
    )


_SHOWN_BY: Mapping[Basis, str] = MappingProxyType(
    {
        "evaluated": "bench reproduce {id}",
        "counted": "bench reproduce {id}",
        "retrained": "bench reproduce {id} --mode train",
        "derived": "bench registry check --full",
    }
)


def _open(entry: Entry, figure: str, means: Means) -> tuple[Outcome, Need | None, str]:
    """Why a figure has no judgement yet, and what it waits for."""
    if means.file == "published":
        return "waits", "file", "a file is published and not here yet"
    if means.file == "here":
        if needs_images(entry, figure) and not means.data:
            return "waits", "data", f"the file is here, the images of {entry.dataset} are not"
        return "waits", "measurement", "all that is needed is here; nobody has measured it yet"
    lost = "the published file is gone" if means.file == "gone" else "no file was published"
    if entry.recipe is None:
        return "cannot be checked", None, f"{lost}, and no training protocol is known"
    if entry.dataset == "imagenet":
        return "waits", "gpu", f"{lost}; training by its recipe takes a GPU and ImageNet"
    return "waits", "training", f"{lost}; its recipe can be trained here"


def needs_images(entry: Entry, figure: str) -> bool:
    """Whether the weights alone leave `figure` of `entry` unknown."""
    return figure.partition(".")[0] in OF_IMAGES or entry.granularity == "dynamic"


def _command(entry: Entry, needs: Need) -> str:
    command = f"bench reproduce {entry.id}"
    more = {"data": " --data-root DIR", "training": " --mode train"}
    return command + {**more, "gpu": " --mode train --device cuda"}.get(needs, "")
