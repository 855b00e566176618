"""`bench list`: every entry, whole ids, one JSON document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import registry, results
from tests.commands.conftest import Bench, document, tiny_registry
from tests.support.results import made


def test_json_is_an_array_of_every_entry(bench: Bench) -> None:
    found = document(bench("list", "--json"))
    assert [item["id"] for item in found] == list(registry.load().entries)
    needed = {"id", "paper", "method", "model", "dataset", "published", "checkpoint"}
    assert all(needed <= item.keys() for item in found)
    states = {item["checkpoint"]["status"] for item in found}
    assert states <= {"stored", "shipped", "local", "link", "none"}


def test_json_keeps_digits_as_printed(bench: Bench) -> None:
    [item] = document(bench("list", "dense-resnet44-cifar10", "--paper", "akamaster", "--json"))
    top1 = item["published"]["top1_pct"]
    assert (top1["text"], top1["value"], top1["suspect"]) == ("93.10", 93.1, False)


def test_nothing_but_json_is_on_stdout(bench: Bench) -> None:
    done = bench("list", "--json", "no-such-word")
    assert json.loads(done.stdout) == []


def test_filters_and_words_must_all_agree(bench: Bench) -> None:
    found = document(bench("list", "resnet50", "90", "--paper", "acdc", "--json"))
    assert [item["id"] for item in found] == [
        "acdc-resnet50-90",
        "acdc-resnet50-90-unif",
        "acdc-resnet50-90-unif-2x",
    ]


def test_a_filter_that_no_entry_passes_names_the_nearest(bench: Bench) -> None:
    done = bench("list", "--dataset", "cifar")
    assert done.exit_code == 2
    assert "--dataset 'cifar' has no entry; nearest: cifar10, cifar100" in done.stderr


def test_available_leaves_out_what_has_no_file(bench: Bench) -> None:
    found = document(bench("list", "--available", "--json"))
    assert {item["checkpoint"]["status"] for item in found} == {"shipped", "link"}


def test_the_last_verdict_is_shown(bench: Bench) -> None:
    results.save(made(entry="dense-resnet20-cifar10", status="claim contradicted"))
    [item] = document(bench("list", "dense-resnet20-cifar10", "--paper", "akamaster", "--json"))
    assert item["last_verdict"] == "claim contradicted"
    assert "claim contradicted" in bench("list", "dense-resnet20-cifar10").stdout


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_narrow_terminals_fold_ids_and_keep_numbers(bench: Bench, columns: int) -> None:
    results.save(made(entry="dense-resnet20-cifar10", status="published figure inconsistent"))
    lines = bench("list", "--dataset", "cifar10", COLUMNS=str(columns)).stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert not any("…" in line for line in lines)
    ids = "".join(line.split(" ")[0] for line in lines[1:])
    for entry in registry.load().select(dataset="cifar10"):
        assert entry.id in ids
        top1 = entry.published.get("top1_pct")
        assert top1 is None or any(top1.text in line for line in lines)


def test_a_pipe_gets_one_line_per_entry(bench: Bench) -> None:
    lines = bench("list").stdout.splitlines()
    assert len(lines) == 1 + len(registry.load().entries)


def test_entries_of_an_own_registry_come_along(bench: Bench, tmp_path: Path) -> None:
    file = tiny_registry(tmp_path)
    assert [
        i["id"] for i in document(bench("list", "acdc-tiny", "--registry", file, "--json"))
    ] == ["acdc-tiny-50"]


def test_a_wrong_registry_file_exits_with_two(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("version: 1\npapres: {}\n")
    done = bench("list", "--registry", tmp_path / "wrong.yaml")
    assert done.exit_code == 2
    assert "wrong.yaml" in done.stderr and "papers" in done.stderr


def test_a_damaged_result_is_named_and_the_list_goes_on(bench: Bench) -> None:
    results.save(made(entry="a-1")).write_text("{")
    done = bench("list")
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) > 300
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("bench: ")]
    assert line.startswith("bench: left out: a-1/20261101T120000Z-00000001.json: not a result")


def on_a_terminal(arguments: list[str], **environment: str) -> str:
    """What `bench` writes to a terminal 100 columns wide."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", "from cli import main; main()", *arguments],
        stdout=follower,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "100", "TERM": "xterm-256color", **environment},
    ) as process:
        os.close(follower)
        seen = b""
        while True:
            try:
                block = os.read(leader, 65_536)
            except OSError:  # Linux says so when the other end closes
                break
            if not block:
                break
            seen += block
        process.wait()
    os.close(leader)
    return seen.decode()


def test_colour_is_for_terminals_and_no_color_is_honoured() -> None:
    results.save(made(entry="dense-resnet20-cifar10", status="mismatch"))
    red = "\x1b[31mmismatch"
    assert red in on_a_terminal(["list", "dense-resnet20-cifar10"])
    assert "\x1b" not in on_a_terminal(["list", "dense-resnet20-cifar10"], NO_COLOR="1")


def test_a_pipe_gets_no_colour(bench: Bench) -> None:
    results.save(made(entry="dense-resnet20-cifar10", status="mismatch"))
    assert "\x1b" not in bench("list", "dense-resnet20-cifar10").stdout


def test_a_closed_pipe_ends_quietly() -> None:
    command = f"{sys.executable} -c 'from cli import main; main()' list | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.startswith("id ")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
