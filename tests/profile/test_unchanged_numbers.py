"""The numbers of the registry's own networks are those on record, whatever else is counted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from harness.models import build
from harness.profile.cost import measure_cost
from harness.registry import load
from harness.registry.data_set_facts import data_set, input_shape

# Taken before attention, banks and recurrent layers were counted, by the previous rules.
RECORD = json.loads((Path(__file__).parents[1] / "fixtures" / "network_numbers.json").read_text())


@pytest.fixture(scope="module")
def registry():
    return load()


def test_every_network_on_record_is_still_in_the_registry(registry):
    """Networks that came later have hand counts of their own (tests/models)."""
    assert set(RECORD) <= {entry.model for entry in registry.entries.values()}


@pytest.mark.parametrize("model", RECORD)
def test_parameters_weights_and_macs_are_as_before(model, registry, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    record = RECORD[model]
    shape = data_set(record["dataset"])
    network = build(model, num_classes=shape.classes, in_channels=shape.channels)
    cost = measure_cost(
        network, input_shape(registry.evaluations[record["evaluation"]]), judged=True
    )
    assert (cost.params, cost.total) == (record["params"], record["weights"])
    assert (cost.macs_dense, cost.fvcore_total) == (record["macs"], record["fvcore"])
    assert cost.macs_activations == 0
    rows = [[x.name, x.kind, list(x.shape), x.total, x.macs_dense] for x in cost.layers]
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == record["layers_sha256"]
