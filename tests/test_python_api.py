"""The public Python API: its list, its tables, and the page that shows all of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import harness
from cli import main
from harness import paths, results
from harness.errors import BenchError, ProtocolError
from harness.models import build
from harness.reports import Row
from tests.support.results import made, trained

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = "load reproduce train prune evaluate Images cost profile stored_results leaderboard sparse"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_the_public_names_are_the_documented_ones() -> None:
    assert sorted(harness.__all__) == sorted(PUBLIC.split())
    page = (ROOT / "docs" / "python.md").read_text()
    for name in harness.__all__:
        assert getattr(harness, name) is not None
        assert f"harness.{name}" in page, name


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_examples_run_as_they_stand(page: str, home: Path, tmp_path: Path) -> None:
    code = "\n".join(BLOCK.findall((ROOT / page).read_text()))
    assert "harness." in code
    file = tmp_path / "notebook.py"
    file.write_text(code)
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(home.glob("reports/results/*/*.json"))) == (1 if page == "README.md" else 7)


@pytest.fixture
def stored(home: Path) -> None:
    results.save(made("str-a-90", when="20260101T0Z-1", measured=90.0))
    results.save(made("str-a-90", when="20260102T0Z-1", measured=91.74))
    results.save(trained(method="gmp"))
    results.save(made("dense-b", when="20260103T0Z-1", method="dense", dataset="cifar100"))


@pytest.mark.usefixtures("stored")
def test_every_stored_result_is_a_line_with_unrounded_numbers() -> None:
    frame = harness.stored_results()
    assert list(frame.columns) == list(Row.__dataclass_fields__)
    assert frame["result_id"].tolist() == sorted(frame["result_id"])
    assert len(frame) == 4
    first = frame[frame["entry"] == "str-a-90"].iloc[0]
    assert (first["evaluated_top1_pct"], first["published_top1_pct"]) == (90.0, "91.73")
    assert first["sparsity_pct"] == 75.0


@pytest.mark.usefixtures("stored")
def test_the_leaderboard_is_that_of_bench_table() -> None:
    assert harness.leaderboard()["entry"].tolist() == ["dense-b", "local-gmp", "str-a-90"]
    newest = harness.leaderboard(dataset="cifar10", method=["str", "acdc"])
    assert newest["evaluated_top1_pct"].tolist() == [91.74]
    assert harness.leaderboard(sort="top1", limit=1)["entry"].tolist() == ["dense-b"]


def test_no_result_is_an_empty_table_with_the_same_columns(home: Path) -> None:
    assert harness.stored_results().empty
    assert list(harness.leaderboard().columns) == list(Row.__dataclass_fields__)


def test_a_network_in_memory_is_refused_an_entrys_name(home: Path) -> None:
    with pytest.raises(ProtocolError, match="is an entry of the registry"):
        harness.evaluate(
            harness.load("dense-convnet-tiny-digits"), "digits", name="dense-resnet20-cifar10"
        )


def test_a_published_network_evaluated_in_memory_gives_its_counts(home: Path) -> None:
    network = harness.load("dense-convnet-tiny-digits")
    own = harness.evaluate(network, "digits")
    entry = harness.reproduce("dense-convnet-tiny-digits")
    assert own.counts == entry.counts and own.data == entry.data
    assert (own.entry, own.paper, own.method) == ("local-convnettiny-digits", None, "dense")
    assert own.checkpoint is not None and own.checkpoint.source == "memory"


def test_a_live_network_trains_from_its_weights_and_stays_as_it_is(home: Path) -> None:
    network = harness.load("dense-convnet-tiny-digits")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = harness.train(network, "digits", seeds=2, changes={"length": "0ep"}, name="still")
    # Nothing was trained, so both seeds have the published weights and their accuracy.
    published = harness.evaluate(network, "digits")
    assert [run.counts for run in found.runs] == [published.counts] * 2
    assert found.checkpoint is not None
    assert re.fullmatch(r"file:ConvNetTiny-[0-9a-f]{12}\.safetensors", found.checkpoint.source)
    moved = harness.train(network, "digits", changes={"length": "10it"}, name="moved")
    assert moved.counts != found.counts
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_pruning_a_live_network_is_what_the_command_does(home: Path, tmp_path: Path) -> None:
    network = harness.load("dense-convnet-tiny-digits")
    own = harness.prune(network, "digits", target=0.9, finetune="1ep", rounds=2, name="from-python")
    weights = paths.shipped_checkpoints() / "dense-convnet-tiny-digits.safetensors"
    command = ("prune", "--method", "magnitude", "--model", "convnet_tiny", "--dataset", "digits")
    numbers = ("--target", "0.9", "--finetune", "1ep", "--rounds", "2", "--name", "typed")
    typed = CliRunner().invoke(
        main, [*command, *numbers, "--weights", str(weights), "--no-tracking", "--json"]
    )
    there = json.loads(typed.stdout)
    assert (own.cost.nnz, own.cost.total) == (1429, 14288)  # a tenth, rounded by the last round
    assert there["cost"]["nnz"] == own.cost.nnz
    assert there["counts"]["top1"] == own.counts.top1


def test_two_networks_of_one_class_are_two_runs(home: Path) -> None:
    def made(width: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def captured(width: int) -> Callable[[], nn.Module]:
        return lambda: made(width)

    for ways in (made, lambda width: partial(made, width=width), captured):
        found = [
            harness.train(ways(width), "digits", changes={"length": "1it"}, name="own")
            for width in (4, 8)
        ]
        assert [result.cost.total for result in found] == [4 * 74, 8 * 74]


def test_the_run_file_of_a_network_in_memory_names_a_file_that_stays(home: Path) -> None:
    network = build("convnet_tiny", num_classes=10, in_channels=1)
    for name in ("once", "twice"):
        harness.prune(network, "digits", target=0.5, name=name)
    texts = [file.read_text() for file in paths.runs_folder().rglob("run.yaml")]
    [start] = {yaml.safe_load(text)["weights"] for text in texts}  # the same weights, once
    kept = load_file(start)
    assert all(torch.equal(kept[key], value) for key, value in network.state_dict().items())


def test_tied_weights_are_pruned_once_and_stay_tied(home: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)
            self.second.weight = self.first.weight
            self.head = nn.Linear(64, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.second(self.first(images.flatten(1)).relu()))

    result = harness.prune(Tied(), "digits", target=0.5, name="tied")
    assert (result.cost.nnz, result.cost.total) == ((64 * 64 + 640) // 2, 64 * 64 + 640)


def test_loaders_take_a_data_sets_place_in_every_function(home: Path) -> None:
    labels = torch.arange(40) % 2
    pixels = (torch.rand(40, 1, 8, 8) * 50 + 150 * labels[:, None, None, None]).round() / 255
    batches = [(pixels[i : i + 10], labels[i : i + 10]) for i in (0, 10, 20, 30)]
    images = harness.Images("dark-bright", classes=2, train=batches, test=batches[:2])
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    cost = harness.cost(network, images)
    assert (cost.macs_dense, cost.params) == (128, 130)
    assert harness.evaluate(network, images, name="before").counts.n == 20
    trained = harness.train(network, images, changes={"length": "2ep"}, name="after")
    assert (trained.counts.n, trained.dataset) == (20, "dark-bright")
    pruned = harness.prune(network, images, target=0.5, name="half")
    assert (pruned.cost.nnz, pruned.data.n_total) == (64, 20)
    frame = harness.leaderboard(dataset="dark-bright")
    assert set(frame["entry"]) == {"before", "after", "half"}


def test_a_folder_is_measured_from_python_as_well(home: Path, tmp_path: Path) -> None:
    for split, place in product(("train", "val"), ("dark", "bright")):
        folder = tmp_path / "tones" / split / place
        folder.mkdir(parents=True)
        Image.new("L", (8, 8), 40 if place == "dark" else 200).save(folder / "0.png")
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    found = harness.evaluate(network, f"folder:{tmp_path / 'tones'}")
    assert (found.dataset, found.counts.n) == ("folder-tones", 2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda n: harness.evaluate(n, [1]), "a list states neither a name nor.*harness.Images"),
        (
            lambda n: harness.evaluate(n, "digitz"),
            "no data set is called 'digitz'; nearest: digits",
        ),
        (lambda n: harness.cost(n, "cifar10"), "cannot take pictures of 32x32 with 3"),
        (lambda n: harness.train(n, "cifar10"), "cannot take pictures of 32x32 with 3"),
        (lambda n: harness.train("resnet21", "digits"), "no model is called 'resnet21'"),
        (lambda n: harness.train(str, "digits", name="s"), "gives a str, not a torch.nn.Module"),
        (lambda n: harness.prune(n, "digits", "nothing", target=0.5), "no method is called"),
        (lambda n: harness.prune(n, "digits", target=1.5, name="x"), "1.5"),
        (lambda n: harness.train(n, "digits", seeds=0, name="none"), "seeds is 0"),
    ],
)
def test_what_python_gets_wrong_is_one_line(home: Path, call: Any, said: str) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(BenchError, match=said) as caught:
        call(network)
    assert "\n" not in str(caught.value)
