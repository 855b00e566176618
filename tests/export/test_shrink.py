"""`bench shrink`: a finished search as a smaller network in a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors import safe_open
from torch import Tensor, nn

from harness import paths
from harness.checkpoints.narrowed import load_shrunk
from harness.commands import shrink
from harness.errors import CheckpointUnavailable, MetricError, NotACheckpoint, ProtocolError
from harness.export.shrunk_filter_search import (
    filter_state_file,
    finished_run_folder,
    shrink_filter_search,
)
from harness.models import build
from harness.training.run_folder import RunFolder
from methods.base import Schedule
from methods.ipruning import EDropout
from methods.ipruning.filter_layout import FilterLayout, unpack_bits
from tests.methods.ipruning_cases import lived_in

SHAPE = [1, 8, 8]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a search that ended with a random state."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    return finished("search", "edropout", {"candidates": 4})


def finished(entry: str, method_name: str, settings: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    model = lived_in(build("resnet18_cifar_quarter", 10, 1))
    method = EDropout(EDropout.Settings(**settings))
    method.attach(model, Schedule(1, 1))
    folder = RunFolder(paths.runs_folder() / entry / "0123456789ab-seed0", "k")
    folder.save_state({"model": model.state_dict(), "method": method.state_dict()})
    folder.keep_end()
    origin = {
        "entry": entry,
        "model": "resnet18_cifar_quarter",
        "dataset": "digits",
        "method": method_name,
        "settings": {**settings, "network": "full"},
        "input_shape": SHAPE,
    }
    folder.finish({}, np.zeros(0, np.uint16), {"origin": origin})
    return folder.path


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(shrink.command, list(arguments))


def logits(model: nn.Module) -> Tensor:
    images = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.eval()(images)


def test_the_file_holds_the_masked_network_with_fewer_parameters(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"

    made = shrink_filter_search(run, out)

    small = load_shrunk(out)
    model = build("resnet18_cifar_quarter", 10, 1)
    method = EDropout(EDropout.Settings(candidates=4))
    method.attach(model, Schedule(1, 1))
    end = RunFolder(run, "k").load_end()
    model.load_state_dict(end["model"])
    method.load_state_dict(end["method"])
    torch.testing.assert_close(logits(small), logits(method.finalize(model)), rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in small.parameters()) == made.params_shrunk < made.params_dense
    assert made.figures["structural_params"] == made.params_shrunk


def test_the_state_beside_it_unpacks_to_the_best_one(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    shrink_filter_search(run, out)

    with safe_open(filter_state_file(out), "pt") as opened:
        layout = FilterLayout.from_json(opened.metadata()["layout"])
        bits = unpack_bits(opened.get_tensor("state"), layout.size)

    stored = RunFolder(run, "k").load_end()["method"]["best"]
    assert torch.equal(bits, unpack_bits(stored, layout.size))


def test_the_command_prints_difference_sizes_and_times(run: Path, tmp_path: Path) -> None:
    outcome = bench("search", "--out", str(tmp_path / "s.safetensors"), "--json")

    document = json.loads(outcome.stdout)
    assert set(document["latency"]) == {"dense", "masked", "shrunk"}
    assert 0 <= document["largest_difference"] < 1e-3
    told = bench(str(run), "--out", str(tmp_path / "s.safetensors")).stdout
    assert "largest difference" in told and "s.state.safetensors" in told


def test_outputs_that_differ_write_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.export.shrunk_filter_search.LARGEST_DIFFERENCE", -1.0)

    with pytest.raises(MetricError, match="nothing was written"):
        shrink_filter_search(run, tmp_path / "s.safetensors")
    assert not (tmp_path / "s.safetensors").exists()


def test_what_cannot_be_shrunk_is_refused(run: Path, tmp_path: Path) -> None:
    other = finished("other", "magnitude", {})
    constant = finished("constant", "edropout", {"candidates": 4, "layout": "ed06"})

    with pytest.raises(ProtocolError, match="only runs of ipruning and edropout"):
        shrink_filter_search(other, tmp_path / "s")
    with pytest.raises(ProtocolError, match="constant.*ed06"):
        shrink_filter_search(constant, tmp_path / "s")
    with pytest.raises(CheckpointUnavailable, match="no finished run"):
        finished_run_folder("nothing")


def test_other_files_are_no_shrunk_networks(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("hello")

    with pytest.raises(NotACheckpoint, match="bench shrink"):
        load_shrunk(tmp_path / "text.safetensors")
    with pytest.raises(CheckpointUnavailable):
        load_shrunk(tmp_path / "none")
