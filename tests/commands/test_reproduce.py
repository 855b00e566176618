"""`bench reproduce`: from a URL to a verdict, exit codes, and what is said when it cannot be."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.data import load
from harness.results.store import load_all
from tests.commands.conftest import (
    ALWAYS,
    MEGAMACS,
    SPARSITY_PCT,
    Bench,
    acdc_file,
    document,
    tiny_registry,
)
from tests.results.test_store import private
from tests.support.server import Server, reply

PUBLISHED = (
    '{{source: README, top1_pct: "{top1}", sparsity_pct: "{sparsity}", flops_millions: "{macs}"}}'
)


def share_of_class() -> str:
    labels = load("digits", "test").labels.tolist()
    return f"{100 * labels.count(ALWAYS) / len(labels):.2f}"


def published(top1: str | None = None, sparsity: str = SPARSITY_PCT) -> str:
    return PUBLISHED.format(top1=top1 or share_of_class(), sparsity=sparsity, macs=MEGAMACS)


@pytest.fixture
def served(server: Server, tmp_path: Path) -> Callable[..., Path]:
    """A registry whose entry's AC/DC file is served over http."""

    def registry(published_text: str, id: str = "acdc-tiny-50") -> Path:
        url = server.url(f"/{id}.ckpt", reply(acdc_file()))
        return tiny_registry(tmp_path, url, published=published_text, id=id)

    return registry


def test_from_url_to_verdict_and_again_from_the_store(
    bench: Bench, served: Callable[..., Path], server: Server, home: Path
) -> None:
    registry = served(published())
    arguments = ("reproduce", "acdc-tiny-50", "--registry", registry, "--no-tracking", "--json")
    first = bench(*arguments)
    assert first.exit_code == 0, first.stderr
    [result] = document(first)
    assert result["verdict"]["status"] == "exact"
    assert {name: m["status"] for name, m in result["metrics"].items() if m["published"]} == {
        "top1_pct": "exact",
        "sparsity_pct": "exact",
        "flops_millions": "exact",
    }
    assert (result["counts"]["n"], result["cost"]["nnz"], result["cost"]["total"]) == (
        364,
        7_056,
        14_288,
    )
    assert result["checkpoint"]["format"] == "acdc"
    assert result["checkpoint"]["source"].startswith("http://127.0.0.1:")
    assert result["predictions_sha256"] is not None
    assert private(result) == []
    assert str(home) not in first.stdout
    server.close()  # closing it again at the end does no harm
    second = bench(*arguments)
    assert second.exit_code == 0, second.stderr
    [again] = document(second)
    assert again["counts"] == result["counts"]
    assert again["checkpoint"] == result["checkpoint"]
    assert len(server.seen) == 1
    assert len(list(load_all())) == 2


def test_the_printed_block_shows_published_measured_delta_and_verdict(
    bench: Bench, served: Callable[..., Path]
) -> None:
    done = bench(
        "reproduce",
        "acdc-tiny-50",
        "--registry",
        served(published()),
        "--no-tracking",
        COLUMNS="80",
    )
    head, columns, top1, *_ = done.stdout.splitlines()
    assert head.startswith("acdc-tiny-50  exact  n=364 images, digits v1")
    assert columns.split() == ["published", "measured", "Δ", "verdict"]
    assert top1.split()[:4] == ["top1_pct", share_of_class(), share_of_class(), "+0.00"] or (
        top1.split()[:3] == ["top1_pct", share_of_class(), share_of_class()]
    )
    assert "evaluate on digits" in done.stderr
    assert "evaluate on" not in done.stdout


def test_a_mismatch_exits_with_three_and_is_still_saved(
    bench: Bench, served: Callable[..., Path]
) -> None:
    registry = served(published(top1="99.00"))
    done = bench("reproduce", "acdc-tiny-50", "--registry", registry, "--no-tracking", "--json")
    assert done.exit_code == 3
    [result] = document(done)
    assert result["verdict"]["status"] == "mismatch"
    assert [stored.result_id for stored in load_all()] == [result["result_id"]]


def test_zeros_that_are_not_there_contradict_the_claim(
    bench: Bench, served: Callable[..., Path], tmp_path: Path, server: Server
) -> None:
    registry = served(
        '{source: README, sparsity_pct: "99.9", top1_pct: "' + share_of_class() + '"}'
    )
    done = bench("reproduce", "acdc-tiny-50", "--registry", registry, "--no-tracking", "--json")
    [result] = document(done)
    assert done.exit_code == 3
    assert result["metrics"]["sparsity_pct"]["status"] == "mismatch"  # half of the zeros are there
    assert result["metrics"]["top1_pct"]["status"] == "exact"


def test_a_limit_is_a_smoke_run_and_never_a_verdict(
    bench: Bench, served: Callable[..., Path]
) -> None:
    registry = served(published(top1="99.00"))
    arguments = ("reproduce", "acdc-tiny-50", "--registry", registry, "--no-tracking", "--json")
    done = bench(*arguments, "--limit", 20)
    assert done.exit_code == 0
    [result] = document(done)
    assert result["verdict"] == {
        "status": "smoke",
        "reason": "20 of 364 images, evenly spread",
    }
    assert result["metrics"]["top1_pct"]["status"] == "smoke"
    assert result["counts"]["n"] == 20


def test_a_failing_entry_does_not_stop_the_others(
    bench: Bench, served: Callable[..., Path], tmp_path: Path, server: Server
) -> None:
    good = served(published())
    gone = tiny_registry(
        tmp_path, server.url("/gone", reply(b"", 404)), published=published(), id="acdc-gone"
    )
    arguments = ("--registry", good, "--registry", gone, "--no-tracking", "--json")
    done = bench("reproduce", "acdc-gone", "acdc-tiny-50", *arguments)
    assert done.exit_code == 4
    found = {item["entry"]: item for item in document(done)}
    assert found["acdc-tiny-50"]["verdict"]["status"] == "exact"
    assert found["acdc-gone"]["verdict"]["status"] == "cannot check"
    assert found["acdc-gone"]["error"] == "CheckpointUnavailable"
    assert "HTTP 404" in found["acdc-gone"]["verdict"]["reason"]


def test_a_mismatch_outranks_a_missing_file(
    bench: Bench, served: Callable[..., Path], tmp_path: Path, server: Server
) -> None:
    wrong = served(published(top1="99.00"))
    gone = tiny_registry(tmp_path, server.url("/gone", reply(b"", 404)), id="acdc-gone")
    arguments = ("--registry", wrong, "--registry", gone, "--no-tracking")
    done = bench("reproduce", "acdc-gone", "acdc-tiny-50", *arguments)
    assert done.exit_code == 3
    assert "acdc-gone" in done.stderr


def test_a_wrong_protocol_for_one_entry_does_not_stop_the_others(
    bench: Bench, served: Callable[..., Path]
) -> None:
    arguments = ("--registry", served(published()), "--no-tracking", "--json")
    done = bench("reproduce", "acdc-tiny-50", *arguments, "--on", "imagenet-sample")
    assert done.exit_code == 2
    [item] = document(done)
    assert item["error"] == "RegistryError"
    assert "prepares pictures" in item["verdict"]["reason"]


def test_an_entry_named_twice_runs_once(bench: Bench, served: Callable[..., Path]) -> None:
    arguments = ("--registry", served(published()), "--no-tracking", "--json")
    assert len(document(bench("reproduce", "acdc-tiny-50", "acdc-tiny-50", *arguments))) == 1


def one_paragraph(text: str) -> str:
    [line] = [line for line in text.splitlines() if line.startswith("bench: ")]
    return line


def test_offline_acdc_says_what_is_missing_and_what_to_type(bench: Bench) -> None:
    done = bench("reproduce", "acdc-resnet50-90", "--offline", "--no-tracking")
    assert done.exit_code == 4
    assert done.stdout == ""
    told = one_paragraph(done.stderr)
    assert told.startswith("bench: acdc-resnet50-90: a file of format 'acdc' is missing.")
    for command in (
        "links: bench show acdc-resnet50-90",
        "bench pull acdc-resnet50-90 --from FILE",
        "bench reproduce acdc-resnet50-90 --mode train",
    ):
        assert command in told
    # Whoever fetches the file should not learn only then that the images are missing too.
    assert "Data set imagenet, too, is missing: get it from https://image-net.org" in told
    assert "BENCH_DATA_ROOT" in told


def test_a_host_that_does_not_answer_exits_with_four(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.checkpoints.downloading.time.sleep", lambda seconds: None)
    with socket.socket() as reserved:  # bound, never listening
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/file.ckpt"
        registry = tiny_registry(tmp_path, url, published=published())
        done = bench("reproduce", "acdc-tiny-50", "--registry", registry, "--no-tracking")
    assert done.exit_code == 4
    told = one_paragraph(done.stderr)
    assert "127.0.0.1: no connection" in told
    assert "bench pull acdc-tiny-50 --from FILE" in told
    assert list(load_all()) == []


def test_an_unreachable_network_looks_the_same_for_a_shipped_entry(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_route(*arguments: Any, **options: Any) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("harness.checkpoints.downloading.time.sleep", lambda seconds: None)
    monkeypatch.setattr(socket.socket, "connect", no_route)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: no_route())
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    done = bench("reproduce", "acdc-resnet50-90", "--no-tracking", "--json")
    assert done.exit_code == 4
    [item] = document(done)
    assert item["verdict"]["status"] == "cannot check"
    assert "bench pull acdc-resnet50-90 --from FILE" in item["verdict"]["reason"]


def test_a_file_fetched_by_hand_is_evaluated(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "by-hand.ckpt"
    file.write_bytes(acdc_file())
    registry = tiny_registry(tmp_path, "https://gone.example/f.ckpt", published=published())
    done = bench(
        "reproduce",
        "acdc-tiny-50",
        "--registry",
        registry,
        "--from",
        file,
        "--no-tracking",
        "--json",
    )
    assert done.exit_code == 0, done.stderr
    [result] = document(done)
    assert result["checkpoint"]["source"] == "file:by-hand.ckpt"
    assert private(result) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name at least one ID, or --suite quickstart"),
        (("acdc-resnet50-9O",), "no entry is called 'acdc-resnet50-9O'; did you mean 'acdc-"),
        (("--suite", "nightli"), "no suite is called 'nightli'; did you mean 'nightly'?"),
        (("acdc-resnet50-90", "--set", "epochs=3"), "add --mode train"),
        (("acdc-resnet50-80", "acdc-resnet50-90", "--from", "f"), "--from gives one file"),
        (("acdc-resnet50-90", "--limit", "0"), "'--limit'"),
        (("acdc-resnet50-90", "--device", "warp"), "device 'warp' is not usable"),
    ],
)
def test_a_wrong_request_exits_with_two_and_one_line(
    bench: Bench, arguments: tuple[str, ...], told: str
) -> None:
    done = bench("reproduce", *arguments)
    assert done.exit_code == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_result_is_saved_although_mlflow_is_down(
    bench: Bench, served: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mlflow", None)
    done = bench("reproduce", "acdc-tiny-50", "--registry", served(published()), "--json")
    assert done.exit_code == 0, done.stderr
    [result] = document(done)
    assert [stored.result_id for stored in load_all()] == [result["result_id"]]
    assert "The result is saved; mirror it later: bench sync" in done.stderr


def test_dry_run_measures_nothing(bench: Bench) -> None:
    done = bench("reproduce", "acdc-resnet50-90", "--dry-run")
    assert done.exit_code == 0
    assert "acdc-resnet50-90: evaluate imagenet-224 v1, checkpoint: link" in done.stdout
    assert list(load_all()) == []


def test_the_stored_file_is_what_was_printed(
    bench: Bench, served: Callable[..., Path], home: Path
) -> None:
    arguments = ("--registry", served(published()), "--no-tracking", "--json")
    [printed] = document(bench("reproduce", "acdc-tiny-50", *arguments))
    [stored] = (home / "reports" / "results").glob("*/*.json")
    assert json.loads(stored.read_text()) == printed


def test_dry_run_shows_the_users_settings_over_the_entrys(bench: Bench) -> None:
    done = bench(
        *("reproduce", "acdc-convnet-tiny-digits-90", "--mode", "train", "--dry-run"),
        *("--set", "settings.sparsity=0.8"),
    )
    assert "'sparsity': 0.8" in done.stdout


def suite_file(tmp_path: Path, *ids: str) -> Path:
    file = tmp_path / "suite.yaml"
    file.write_text(f"version: 1\nsuites: {{mine: [{', '.join(ids)}]}}\n")
    return file


TWO = ("dense-convnet-tiny-digits", "acdc-convnet-tiny-digits-90")


def test_a_suite_goes_on_where_it_was_and_ids_are_measured(bench: Bench, tmp_path: Path) -> None:
    arguments = ("--registry", suite_file(tmp_path, *TWO), "--no-tracking", "--json")
    [first] = document(bench("reproduce", TWO[1], *arguments))
    whole = bench("reproduce", "--suite", "mine", *arguments)
    assert whole.exit_code == 0
    new, held = document(whole)
    assert (new["entry"], held) == (TWO[0], first)  # in the suite's order
    assert f"1/2 {TWO[1]}: exact, on record since {first['created']}" in whole.stderr
    assert f"2/2 {TWO[0]}: exact" in whole.stderr
    assert "1 of 2 are on record already; to measure anew: --again" in whole.stderr
    assert len(list(load_all())) == 2
    bench("reproduce", "--suite", "mine", "--again", *arguments)
    assert len(list(load_all())) == 4
    bench("reproduce", TWO[1], *arguments)
    assert len(list(load_all())) == 5
    again = bench("reproduce", TWO[1], "--resume", *arguments)
    assert len(list(load_all())) == 5
    assert document(again)[0]["entry"] == TWO[1]


def test_entries_on_the_same_images_share_a_pass(bench: Bench) -> None:
    done = bench("reproduce", *TWO, "--no-tracking")
    assert f"{TWO[0]} and 1 more: evaluate on digits" in done.stderr
    assert done.stderr.count("evaluate on") == 1


def test_a_recorded_mismatch_still_exits_with_three(
    bench: Bench, served: Callable[..., Path]
) -> None:
    arguments = ("--registry", served(published(top1="99.00")), "--no-tracking", "--json")
    assert bench("reproduce", "acdc-tiny-50", *arguments).exit_code == 3
    assert bench("reproduce", "acdc-tiny-50", "--resume", *arguments).exit_code == 3
    assert len(list(load_all())) == 1


def test_fast_is_shown_beside_the_verdict(bench: Bench) -> None:
    arguments = ("reproduce", TWO[0], "--no-tracking", "--fast")
    shown = bench(*arguments, CXX="no-such-compiler", COLUMNS="200")
    assert shown.exit_code == 0
    [line] = [line for line in shown.stdout.splitlines() if "fast, not judged" in line]
    assert line.startswith(f"{TWO[0]}  fast, not judged (bfloat16, channels_last): top1_pct ")
    assert "of 364 predictions are not those of float32" in line
    [result] = document(bench(*arguments, "--json", CXX="no-such-compiler"))
    assert result["verdict"]["status"] == "exact" and result["precision"] == "float32"
    assert result["fast"]["counts"]["n"] == 364 and not result["fast"]["compiled"]
    assert 0 <= result["fast"]["flipped"] <= 364
