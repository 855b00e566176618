"""Words of the site: verdict badges, data sets, methods in a sentence."""

from __future__ import annotations

import re

from harness.registry import Registry, data_set, is_data_set
from harness.reports.papers.paper_tables import heading
from harness.results import FigureStatus, failed

_TONES = {
    "exact": "good",
    "match": "good",
    "consistent": "good",
    "reached": "good",
    "not reached": "close",
    "ambiguous preprocessing": "close",
    "near": "close",
    "cannot check": "close",
    "suspect": "close",
}
_FIGURE = re.compile(r"\b[a-z0-9]+(_[a-z0-9]+)+(?=: )")
NOT_MEASURED = "not measured"
_METHODS = {
    "dense": "No pruning: the baseline of everything else.",
    "random": "Random weights are removed; layers share as with magnitude.",
    "magnitude": "The smallest weights go; layers share globally, by LAMP, ERK or uniformly.",
    "gmp": "Gradual magnitude pruning: sparsity rises along a cubic ramp during training.",
    "acdc": "Dense and sparse phases alternate during one training run.",
    "str": "Thresholds are learned, per layer or finer, through soft thresholding.",
    "dnw": "The top-k weights count forward; gradients reach all of them straight through.",
    "rd": "Layers share so that the distortions they cause add up to least.",
    "ftwt": "Gates choose filters image by image, so MACs depend on the input.",
    "ipruning": "Filter states are found by differential evolution under an Ising energy.",
    "edropout": "Filter states are drawn and selected by energy while the network trains.",
    "snip": "Connections scored once on one mini-batch before training; the best are trained.",
    "imp": "Train, remove the smallest weights, rewind the rest to their first values, repeat.",
    "han-magnitude": "Smallest weights of each layer removed in rounds; the survivors train on.",
    "deep-compression": "Magnitude pruning, weight sharing and Huffman coding in a row.",
}


def tone(status: str) -> str:
    """Class of a verdict's badge: good, close, bad, plain or none. The text says the rest."""
    if status == NOT_MEASURED:
        return "none"
    return _TONES.get(status, "bad" if failed(status) else "plain")


def figure_tone(figure: FigureStatus) -> str:
    """Class of the badge of one printed figure."""
    if figure.basis is None or figure.comparison is None:
        return "close" if figure.outcome == "doubtful" else "none"
    return tone(figure.comparison.status)


def figures_in_words(reason: str) -> str:
    """A verdict's reason with figures as tables head them: sparsity_pct as "sparsity %"."""
    return _FIGURE.sub(lambda found: heading(found[0]), reason)


def dataset_title(name: str) -> str:
    """Name of a data set as people write it."""
    if not is_data_set(name):
        return name
    return data_set(name).title.partition(" (")[0].partition(",")[0]


def method_text(name: str, registry: Registry) -> str:
    """What a method does, in a sentence; "" for a user's own."""
    text = _METHODS.get(name) or registry.external_methods.get(name, "")
    return text[:1].upper() + text[1:] + ("." if text and not text.endswith(".") else "")
