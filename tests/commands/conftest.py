"""The command line in a home of its own, with a small registry and a server that can be stopped."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result

from harness.models import build
from tests.support.command_line import typed

Bench = Callable[..., Result]


@pytest.fixture(autouse=True)
def home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and data root; nothing of the tester's own environment leaks in."""
    monkeypatch.setenv("BENCH_DATA_ROOT", str(tmp_path / "data"))
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def bench() -> Bench:
    """Run `bench ARGUMENTS`; anything but an orderly exit fails the test."""

    def run(*arguments: object, **environment: str) -> Result:
        result = typed(*arguments, **environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def document(result: Result) -> Any:
    """The one JSON document that is all of stdout."""
    return json.loads(result.stdout)


# convnet_tiny on digits, built so that every number below can be counted by hand.
ALWAYS = 3  # the class it always answers
KEPT = {"conv1": 144, "conv2": 4608, "conv3": 2304, "fc": 0}  # of 144, 4608, 9216 and 320 weights
SPARSITY_PCT = "50.62"  # 1 - 7056 / 14288
MEGAMACS = "0.341"  # conv1 9,216 + conv2 294,912 + a quarter of conv3's 147,456, on 8x8 and 4x4


def acdc_file() -> bytes:
    """A checkpoint in the layout that AC/DC's code saves."""
    plain = build("convnet_tiny", num_classes=10, in_channels=1).state_dict()
    plain["fc.bias"] = torch.eye(10)[ALWAYS]
    state: dict[str, torch.Tensor] = {}
    for name, value in plain.items():
        layer, _, kind = name.rpartition(".")
        if layer not in KEPT:
            state[f"module.{name}"] = value
            continue
        state[f"module.{layer}._layer.{kind}"] = value
        if kind == "weight":  # weights outside the mask stay in the file; the mask removes them
            mask = torch.arange(value.numel()) < KEPT[layer]
            state[f"module.{layer}._weight_mask"] = mask.float().view(value.shape)
    buffer = io.BytesIO()
    torch.save({"epoch": 7, "model_state_dict": state}, buffer)
    return buffer.getvalue()


def tiny_registry(
    folder: Path,
    *urls: str,
    published: str = "{}",
    id: str = "acdc-tiny-50",
    dataset: str = "digits",
) -> Path:
    """A registry file with one entry in AC/DC's format for convnet_tiny."""
    sources = json.dumps(list(urls))
    checkpoint = f"checkpoint: {{sources: {sources}, format: acdc}}," if urls else ""
    file = folder / f"{id}.yaml"
    file.write_text(
        f"""version: 1
papers:
  tiny-{id}:
    title: A tiny paper
    venue: here
    url: https://paper.example/
    code: null
    license: none stated
    flops_convention: macs
families:
  - paper: tiny-{id}
    method: acdc
    model: convnet_tiny
    dataset: {dataset}
    evaluation: {dataset}
    rows:
      - {{id: {id}, {checkpoint} published: {published}}}
"""
    )
    return file
