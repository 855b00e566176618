"""`bench show`: everything about one entry, readable at any width."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness import results
from harness.registry import plain
from harness.results import timings as latencies
from tests.commands.conftest import Bench, document
from tests.results.test_timings import record
from tests.support.results import made


def test_json_holds_entry_paper_protocol_status_and_results(bench: Bench) -> None:
    stored = made(entry="str-resnet50-81")
    results.save(stored)
    results.save(made(entry="str-resnet50-90"))
    found = document(bench("show", "str-resnet50-81", "--json"))
    assert found["id"] == "str-resnet50-81"
    assert found["paper"]["title"].startswith("Soft Threshold")
    assert found["evaluation"]["resize"] == 256
    assert found["published"]["params_millions"]["text"] == "4.47"
    assert found["checkpoint_status"] == "link"
    assert found["results"] == [plain(stored)]


def test_a_run_of_ones_own_is_shown_by_its_name_in_the_table(bench: Bench) -> None:
    results.save(made(entry="mine", result_id="20261101T000000Z-00000001"))
    newest = made(entry="mine", mode="pruned", settings={"points": 5})
    results.save(newest)
    shown = bench("show", "mine")
    assert shown.exit_code == 0
    told = {line.split()[0]: line.split(maxsplit=1)[-1] for line in shown.stdout.splitlines()}
    assert told["record"] == f"reports/results/mine/{newest.result_id}.json"
    assert told["settings"] == "points=5"
    assert told["layers"].startswith("bench allocation DENSE --run mine")
    assert len(document(bench("show", "mine", "--json"))["results"]) == 2
    assert "no entry is called 'mind'" in bench("show", "mind").stderr


@pytest.mark.parametrize("columns", [60, 80])
def test_links_sources_and_notes_are_whole_on_narrow_terminals(bench: Bench, columns: int) -> None:
    done = bench("show", "str-resnet50-81", COLUMNS=str(columns))
    lines = done.stdout.splitlines()
    link = "https://drive.google.com/uc?export=download&id=1-M2AxzKdRp1pJWI4gAdN7v3a9Oih2MdG"
    assert [line.split() for line in lines if len(line) > columns or link in line][0] == [link]
    assert all(len(line) <= columns or len(line.split()) == 1 for line in lines)
    assert "…" not in done.stdout
    text = " ".join(line.strip() for line in lines)
    for fact in (
        "https://arxiv.org/abs/2002.03231",
        "76.12",
        "README, sparse rows",
        "imagenet-224 v1",
        "not pinned yet",
    ):
        assert fact in text


def test_a_doubtful_cell_says_why(bench: Bench) -> None:
    done = bench("show", "snip-resnet20-cifar10-90-keras")
    assert "suspect: contains the L2 penalty" in done.stdout
    assert "none stated" in done.stdout


def test_without_a_result_the_command_that_makes_one_is_named(bench: Bench) -> None:
    done = bench("show", "dense-resnet20-cifar10")
    assert "No result yet. Measure it: bench reproduce dense-resnet20-cifar10" in done.stdout


def test_every_result_is_listed_oldest_first(bench: Bench) -> None:
    results.save(made("dense-resnet20-cifar10", "20261102T120000Z-1", status="mismatch"))
    results.save(made("dense-resnet20-cifar10", "20261101T120000Z-1"))
    lines = bench("show", "dense-resnet20-cifar10").stdout.splitlines()
    history = [line.split() for line in lines if line.startswith("2026-11-0")]
    assert [(row[0], row[4]) for row in history] == [
        ("2026-11-01", "exact"),
        ("2026-11-02", "mismatch"),
    ]


def test_square_brackets_are_text_and_not_markup(bench: Bench) -> None:
    stored = made(entry="dense-resnet20-cifar10")
    verdict = stored.verdict.__class__(status="exact", reason="in [bold] letters")
    results.save(replace(stored, verdict=verdict))
    assert "in [bold] letters" in bench("show", "dense-resnet20-cifar10").stdout


def test_a_former_name_leads_to_the_entry(bench: Bench) -> None:
    assert document(bench("show", "dense-str-resnet50", "--json"))["id"] == "dense-resnet50-str"


def test_an_unknown_id_exits_with_two_and_the_nearest_name(bench: Bench) -> None:
    done = bench("show", "str-resnet50-9")
    assert done.exit_code == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(
        "bench: no entry is called 'str-resnet50-9'; did you mean 'str-resnet50-"
    )


def test_timings_are_told_per_machine(bench: Bench) -> None:
    for i, machine in enumerate(("m1", "m2")):
        when = f"20261101T12000{i}Z-0000000{i}"
        latencies.save_timings(record("str-resnet50-81", when=when, machine=machine))
    text = bench("show", "str-resnet50-81").stdout
    for machine in ("m1", "m2"):
        assert f"timed 2026-11-01 on machine {machine} (chip, 2 cores), cpu, 2 threads" in text
    assert text.count("pruned at best 10.00 ms (sparse, 4.00 x)") == 2
    stored = document(bench("show", "str-resnet50-81", "--json"))["latencies"]
    assert [kept["hardware"]["machine"] for kept in stored] == ["m1", "m2"]


def test_a_recipe_shows_part_by_part_who_specified_it(bench: Bench) -> None:
    done = bench("show", "snip-lenet300-mnist-95")
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("specified by")]
    assert "optimizer paper" in line and "length assumed" in line
    assert "specified by  paper" in bench("show", "acdc-resnet50-90").stdout
