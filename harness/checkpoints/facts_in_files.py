"""What a file says about itself beside its weights."""

from __future__ import annotations

import math
from typing import Any

from harness.checkpoints.claimed_tensors import DenseClaim, tensor_of
from harness.checkpoints.safe_readers import Content
from harness.checkpoints.wording import shown

MAX_TEXT, MAX_FACTS = 100, 64


def published_inside(content: Content, key: str) -> dict[str, int | float | str]:
    """Epoch, best accuracy, architecture: finite numbers and short texts beside the weights.

    key: where the weights lie; a bare state dict ("") says nothing.
    """
    if not key or not isinstance(content.value, dict):
        return {}
    facts: dict[str, int | float | str] = {}
    for name, value in content.value.items():
        if isinstance(value, DenseClaim) and not value.shape:
            value = tensor_of(value, content.data).item()
        if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
            facts |= {shown(f"{name}.{k}"): shown(v) for k, v in value.items()}
        elif _is_fact(value):
            facts[shown(str(name))] = shown(value) if isinstance(value, str) else value
    return dict(list(facts.items())[:MAX_FACTS])


def _is_fact(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT
    if isinstance(value, bool | int):
        return abs(value) < 2**63
    return isinstance(value, float) and math.isfinite(value)
