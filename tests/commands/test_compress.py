"""`bench compress`: the stages of Deep Compression as a table."""

import json
import os
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from cli import main

PUBLISHED = "checkpoints/songhan-squeezenet-deep-compression/compressed_SqueezeNet.net"
PUBLISHED_BYTES = 675_763
HEADER_BYTES = 4 * 26  # one stored-entry count per convolution
DATA_ROOT = Path(os.environ.get("BENCH_DATA_ROOT", ""))  # before a fixture hides it


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["compress", *arguments])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Six non-zero weights of three values in 40, and a bias."""
    matrix = torch.zeros(4, 10)
    matrix.view(-1)[[0, 1, 2, 5, 19, 39]] = torch.tensor([1.0, 2.0, 2.0, 4.0, 1.0, 2.0])
    path = tmp_path / "net.pt"
    torch.save({"fc.weight": matrix, "fc.bias": torch.ones(4)}, path)
    return path


def test_sizes_of_a_file_are_those_counted_by_hand(weights: Path) -> None:
    outcome = run(str(weights), "--bits", "2", "--json")

    document = json.loads(outcome.stdout)
    matrix, bias = document["layers"]
    # The gap of 20 before the last weight is bridged by one entry: 7 entries.
    assert (matrix["nonzero"], matrix["entries"]) == (6, 7)
    assert (matrix["dense_bytes"], matrix["pruned_bytes"]) == (160, 28 + 4)
    assert matrix["shared_bytes"] == 2 + 4 + 16  # 14 bits of codes, 28 of gaps, 4 codebook floats
    assert bias["huffman_bytes"] == 16
    assert document["stored_bytes"] == 2 + 4 + 16 + 16 + 4
    assert document["file_bytes"] == weights.stat().st_size


def test_stages_can_be_applied_first(weights: Path) -> None:
    unshared = json.loads(run(str(weights), "--bits", "1", "--json").stdout)
    pruned = run(str(weights), "--bits", "1", "--sparsity", "0.5", "--share", "--json")

    document = json.loads(pruned.stdout)
    assert unshared["total"]["shared_bytes"] is None and unshared["stored_bytes"] is None
    # The median of 1, 1, 2, 2, 2, 4 is 2: both ones fall, the rest becomes one value.
    assert document["layers"][0]["nonzero"] == 4
    assert document["total"]["shared_bytes"] is not None


def test_widths_of_layers_and_gaps(weights: Path) -> None:
    chosen = ("--bits", "8", "--layer-bits", "f*=2", "--index-bits", "5", "--json")
    matrix = json.loads(run(str(weights), *chosen).stdout)["layers"][0]
    # A gap of 5 bits reaches 32 positions, so nothing has to be bridged: 6 entries.
    assert (matrix["entries"], matrix["shared_bytes"]) == (6, 2 + 4 + 16)
    for wrong in ("f", "f=0", "=3", "f=17"):
        outcome = run(str(weights), "--layer-bits", wrong)
        assert outcome.exit_code == 2 and "LAYER=BITS" in outcome.stderr


def test_the_table_ends_with_the_sums_and_marks_what_is_unknown(weights: Path) -> None:
    outcome = run(str(weights), "--bits", "1")

    total = next(line for line in outcome.stdout.splitlines() if line.startswith("total"))
    assert total.split() == ["total", "44", "10", "11", "176", "48", "–", "–"]
    assert f"{weights.stat().st_size:,} bytes" in outcome.stdout


def test_pruning_nothing_but_zeros_is_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "zero.pt")

    outcome = run(str(tmp_path / "zero.pt"), "--sparsity", "0.5")

    assert outcome.exit_code == 2
    assert "every weight is zero" in outcome.stderr


@pytest.mark.realdata
def test_the_published_squeezenet_has_the_size_of_its_own_file() -> None:
    path = DATA_ROOT / PUBLISHED
    if not path.is_file():
        pytest.skip(f"BENCH_DATA_ROOT has no {PUBLISHED}")

    outcome = run(str(path), "--weights-format", "squeezenet-net", "--json")

    document = json.loads(outcome.stdout)
    assert document["file_bytes"] == document["stored_bytes"] == PUBLISHED_BYTES
    assert document["total"]["shared_bytes"] == PUBLISHED_BYTES - HEADER_BYTES
