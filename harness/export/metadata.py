"""What a file of weights says about itself: enough to prepare a picture and to name the answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harness.registry import Evaluation, data_set, input_shape

if TYPE_CHECKING:
    from harness.export.finding import FoundNetwork

PREFIX = "reprune."


def about_network(found: FoundNetwork, evaluation: Evaluation) -> dict[str, str]:
    """Facts about a network for the metadata of a file, all text; lists are JSON.

    evaluation: how pictures are prepared for it. mean and std: per channel, of pixels in
    [0, scale]. input_size: [C, H, W]. sha256, license: of the file that the weights came in.
    class_names: in the order of the outputs, where they are known.
    """
    weights, facts = found.weights, found.weights.facts
    names = data_set(weights.dataset).class_names()
    values = {
        "entry": weights.name,
        "method": weights.method,
        "model": weights.model,
        "dataset": weights.dataset,
        "weights": weights.where,
        "evaluation": f"{evaluation.name} v{evaluation.version}",
        "input_size": json.dumps(input_shape(evaluation)),
        "mean": json.dumps(evaluation.mean),
        "std": json.dumps(evaluation.std),
        "scale": json.dumps(evaluation.scale),
        "channels": evaluation.channels,
        "resize": json.dumps(evaluation.resize) if evaluation.resize else "",
        "crop": json.dumps(evaluation.crop) if evaluation.crop else "",
        "interpolation": evaluation.interpolation if evaluation.resize else "",
        "class_names": json.dumps(names, ensure_ascii=False) if names else "",
        "sha256": facts.sha256 if facts else "",
        "source": facts.source if facts else "",
        "license": facts.license if facts else "",
    }
    return {f"{PREFIX}{name}": value for name, value in values.items() if value}
