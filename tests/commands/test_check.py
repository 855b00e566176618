"""`bench check`: a night of everything going wrong, and what is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness import paths, registry
from harness.maintenance import accepted
from harness.registry.entries import evaluation_sha256
from harness.results.store import load_all
from tests.commands.conftest import Bench, document
from tests.support.server import Server
from tests.support.simulated_night import DRIFT, ENTRIES, IMAGES, bad_luck, plain, registry_file

ROOT = Path(__file__).resolve().parents[2]
SIMULATED = ROOT / "reports" / "nightly" / "simulated.txt"

# What has to be named: entry -> (kind, severity).
EXPECTED = {
    "night-replaced": {("changed checkpoint", "drift")},
    "night-gone": {("dead link", "drift"), ("not measured", "could not be checked")},
    "night-page": {("not a file", "drift")},
    "night-drifted": {("metric drift", "drift")},
    "night-homeless": {("missing data set", "could not be checked")},
    "night-fine": set(),
}


@pytest.fixture
def good(bench: Bench, server: Server, tmp_path: Path) -> Path:
    """The registry of the simulated entries, each measured once: the standard."""
    file = registry_file(tmp_path, server)
    ids = [f"night-{name}" for name in ENTRIES if name != "homeless"]
    done = bench("reproduce", *ids, "--registry", file, "--no-tracking", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    return file


def check(bench: Bench, file: Path, *words: object) -> Any:
    return bench("check", "--registry", file, "--device", "cpu", "--no-tracking", *words)


def told(night: dict[str, Any]) -> dict[str, set[tuple[str, str]]]:
    """Entry -> kinds and severities, notes left out."""
    return {
        row["entry"]: {
            (finding["kind"], finding["severity"])
            for finding in row["findings"]
            if finding["severity"] != "note"
        }
        for row in night["checks"]
    }


def test_a_night_of_bad_luck_is_told_entry_by_entry(
    bench: Bench, home: Path, server: Server, good: Path, tmp_path: Path
) -> None:
    protocol = evaluation_sha256(registry.load().evaluations["imagenet-224"])
    bad_luck(server, home, protocol)
    junit, summary = tmp_path / "out" / "night.xml", tmp_path / "summary.md"
    files = ("--junit", junit, "--summary", summary)

    done = check(bench, good, "--suite", "simulated", *files)
    assert done.exit_code == 3, done.stderr
    assert plain(done.stdout) == SIMULATED.read_text()

    night = document(check(bench, good, "--suite", "simulated", "--json"))
    assert night["exit_code"] == 3
    assert told(night) == EXPECTED
    [drifted] = [row for row in night["checks"] if row["entry"] == "night-drifted"]
    [text] = [f["text"] for f in drifted["findings"] if f["kind"] == "metric drift"]
    assert f"({-100 * DRIFT / IMAGES:+.2f} pp, -{DRIFT} of {IMAGES} images, 1 allowed)" in text

    cases = {case.get("name"): case for case in ElementTree.parse(junit).iter("testcase")}
    kinds = {
        name: {
            (problem.tag, problem.get("type")) for problem in case if problem.tag != "system-out"
        }
        for name, case in cases.items()
    }
    assert kinds == {
        "night-fine": set(),
        "night-replaced": {("failure", "changed checkpoint")},
        "night-gone": {("failure", "dead link")},
        "night-page": {("failure", "not a file")},
        "night-drifted": {("failure", "metric drift")},
        "night-homeless": {("error", "missing data set")},
    }
    [suite] = ElementTree.parse(junit).getroot()
    totals = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert totals == {"tests": "6", "failures": "4", "errors": "1", "skipped": "0"}
    assert "| `night-gone` | dead link |" in summary.read_text()

    links = json.loads((home / "reports" / "links.json").read_text())["links"]
    assert sorted(link["status"] for link in links.values() if not link["ok"]) == [200, 404]


@pytest.mark.slow
def test_workers_of_an_executor_find_what_one_process_finds(
    bench: Bench, home: Path, server: Server, good: Path
) -> None:
    bad_luck(server, home, evaluation_sha256(registry.load().evaluations["imagenet-224"]))
    done = check(bench, good, "--suite", "simulated", "--executor", "inline", "--json")
    assert done.exit_code == 3, done.stderr
    assert told(document(done)) == EXPECTED


@pytest.mark.parametrize(
    ("names", "code"), [(("fine",), 0), (("homeless",), 4), (("homeless", "gone"), 3)]
)
def test_drift_wins_over_what_could_not_be_checked(
    bench: Bench, home: Path, server: Server, good: Path, names: tuple[str, ...], code: int
) -> None:
    bad_luck(server, home, evaluation_sha256(registry.load().evaluations["imagenet-224"]))
    assert check(bench, good, *(f"night-{name}" for name in names)).exit_code == code


def test_a_host_that_is_down_is_not_drift(bench: Bench, server: Server, good: Path) -> None:
    server.close()  # the store still has the file
    night = check(bench, good, "night-fine", "--json")
    assert night.exit_code == 4
    assert told(document(night)) == {"night-fine": {("unreachable link", "could not be checked")}}
    quiet = check(bench, good, "night-fine", "--offline")
    assert quiet.exit_code == 0
    assert "offline: no link was asked" in quiet.stdout


def test_what_was_never_measured_cannot_be_checked(
    bench: Bench, server: Server, tmp_path: Path
) -> None:
    file = registry_file(tmp_path, server)
    night = check(bench, file, "night-fine", "--json")
    assert night.exit_code == 4
    assert told(document(night)) == {"night-fine": {("no accepted result", "could not be checked")}}
    # Its own measurement is the first full one, and counts from now on.
    assert check(bench, file, "night-fine").exit_code == 0


def test_accepting_with_a_reason_makes_the_drift_the_standard(
    bench: Bench, home: Path, server: Server, good: Path
) -> None:
    bad_luck(server, home, "")
    assert check(bench, good, "night-drifted").exit_code == 3
    assert check(bench, good, "night-drifted").exit_code == 3  # being newer is no reason
    words = ("check", "--registry", good, "--accept", "night-drifted")
    assert bench(*words).exit_code == 2
    done = bench(*words, "--reason", "resampling was wrong", "--json")
    assert done.exit_code == 0
    newest = list(load_all(entry="night-drifted"))[-1].result_id
    assert document(done)["result_id"] == newest
    assert check(bench, good, "night-drifted").exit_code == 0
    [line] = (home / "reports" / "accepted.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "resampling was wrong"


def test_acceptances_are_only_ever_added(bench: Bench, home: Path, good: Path) -> None:
    assert check(bench, good, "night-fine").exit_code == 0
    first, second = (result.result_id for result in load_all(entry="night-fine"))
    accepted.accept("night-fine", "one")
    accepted.accept("night-fine", "two", first)
    assert accepted.decisions()["night-fine"].result_id == first
    lines = (home / "reports" / "accepted.jsonl").read_text().splitlines()
    assert [json.loads(line)["result_id"] for line in lines] == [second, first]
    again = bench(
        "check",
        "--registry",
        good,
        "--accept",
        "night-fine",
        "--result",
        first,
        "--reason",
        "three",
    )
    assert again.exit_code == 1
    assert "was accepted on" in again.stderr and "two" in again.stderr


def test_nothing_to_accept_says_what_to_type(bench: Bench) -> None:
    done = bench("check", "--accept", "dense-convnet-tiny-digits", "--reason", "x")
    assert done.exit_code == 1
    assert "bench reproduce dense-convnet-tiny-digits" in done.stderr


def test_an_interrupted_night_is_continued(
    bench: Bench, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.maintenance import nightly as night

    whole = night.reproduce_together

    class PulledPlug(Exception):
        pass

    def cut(*arguments: Any, **more: Any) -> Any:
        for i, outcome in enumerate(whole(*arguments, **more)):
            if i == 2:
                raise PulledPlug
            yield outcome

    ids = ("night-fine", "night-replaced", "night-drifted")
    with monkeypatch.context() as patch, pytest.raises(PulledPlug):
        patch.setattr(night, "reproduce_together", cut)
        check(bench, good, *ids)
    done = check(bench, good, *ids)
    assert done.exit_code == 0
    assert "3 entries, 3 as accepted" in done.stdout
    assert "2 taken over from an interrupted check" in done.stdout
    assert len(list(load_all(entry="night-fine"))) == 2  # the standard and one night
    assert "taken over" not in check(bench, good, "night-fine").stdout
    assert list((paths.cache_folder() / "nightly").iterdir()) == []


def test_other_images_are_no_drift_and_the_way_to_accept_them_is_told(
    bench: Bench, home: Path, good: Path
) -> None:
    [standard] = (home / "reports" / "results" / "night-fine").glob("*.json")
    held = json.loads(standard.read_text())
    held["data"]["fingerprint"] = "0" * 64
    held["data"]["copy_name"] = "another copy"
    standard.write_text(json.dumps(held))
    night = check(bench, good, "night-fine", "--summary", home / "page.md")
    assert night.exit_code == 4
    assert "other images: another copy ->" in night.stdout
    for told in (night.stdout, (home / "page.md").read_text()):
        assert 'becomes the standard: bench check --accept ID --reason "..."' in told
    accept = bench(
        "check", "--registry", good, "--accept", "night-fine", "--reason", "official set"
    )
    assert accept.exit_code == 0
    assert check(bench, good, "night-fine").exit_code == 0


def test_a_night_needs_to_know_what_to_check(bench: Bench) -> None:
    done = bench("check")
    assert done.exit_code == 2
    assert "--suite nightly" in done.stderr
