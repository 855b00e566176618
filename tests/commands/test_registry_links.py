"""`bench registry links` and `bench registry lock`."""

from __future__ import annotations

import json
from pathlib import Path

from harness.checkpoints import pins
from harness.results import link_answers
from tests.commands.conftest import Bench, acdc_file, document, tiny_registry
from tests.support.server import Server, reply


def reachable(server: Server, file: Path) -> Path:
    """The registry file with a paper page that answers."""
    page = server.url("/paper", reply(b"<html>a paper</html>"))
    file.write_text(file.read_text().replace("https://paper.example/", page))
    return file


def test_dead_links_are_named_with_their_entries_and_kept(
    bench: Bench, home: Path, server: Server, tmp_path: Path
) -> None:
    good, gone = server.url("/good.pt", reply(acdc_file())), server.url("/gone.pt", reply(b"", 404))
    mine = reachable(server, tiny_registry(tmp_path, good, gone))
    done = bench("registry", "links", "--registry", mine, "--paper", "tiny-acdc-tiny-50")
    assert done.exit_code == 4
    assert "dead" in done.stdout and gone in done.stdout and "acdc-tiny-50" in done.stdout
    assert good not in done.stdout
    assert done.stdout.endswith("3 links: 2 alive, 1 dead, 0 could not be checked\n")
    kept = json.loads((home / "reports" / "links.json").read_text())
    assert kept["version"] == 1
    assert {address: link["ok"] for address, link in kept["links"].items()} == {
        good: True,
        gone: False,
        server.url("/paper", reply(b"")): True,
    }


def test_all_alive_is_zero_and_json_is_what_is_kept(
    bench: Bench, server: Server, tmp_path: Path
) -> None:
    good = server.url("/good.pt", reply(acdc_file()))
    mine = reachable(server, tiny_registry(tmp_path, good))
    paper = "tiny-acdc-tiny-50"
    done = bench("registry", "links", "--registry", mine, "--paper", paper, "--json")
    assert done.exit_code == 0
    assert {
        k: link_answers.Link(**v) for k, v in document(done).items()
    } == link_answers.load_links()


def test_an_unknown_paper_is_a_usage_error(bench: Bench) -> None:
    done = bench("registry", "links", "--paper", "acdcc")
    assert done.exit_code == 2
    assert "did you mean 'acdc'?" in done.stderr


def pulled(bench: Bench, server: Server, tmp_path: Path) -> Path:
    """A registry whose one checkpoint was downloaded."""
    mine = tiny_registry(tmp_path, server.url("/good.pt", reply(acdc_file())))
    assert bench("pull", "acdc-tiny-50", "--registry", mine).exit_code == 0
    return mine


def test_lock_says_what_is_pinned_and_pins_what_lost_its_pin(
    bench: Bench, home: Path, server: Server, tmp_path: Path
) -> None:
    mine = pulled(bench, server, tmp_path)
    sha256 = pins.pinned("acdc-tiny-50").sha256  # type: ignore[union-attr]
    [row] = document(bench("registry", "lock", "acdc-tiny-50", "--registry", mine, "--json"))
    assert (row["state"], row["sha256"]) == ("pinned", sha256)
    (home / "registry.lock").unlink()
    done = bench("registry", "lock", "--registry", mine)
    assert done.exit_code == 0
    assert "newly pinned" in done.stdout and sha256[:16] in done.stdout
    assert pins.pinned("acdc-tiny-50").sha256 == sha256  # type: ignore[union-attr]


def test_a_stored_file_that_changed_is_named(
    bench: Bench, home: Path, server: Server, tmp_path: Path
) -> None:
    mine = pulled(bench, server, tmp_path)
    [stored] = (home / "checkpoints" / "acdc-tiny-50").glob("*.safetensors")
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    done = bench("registry", "lock", "acdc-tiny-50", "--registry", mine, "--json")
    assert done.exit_code == 4
    [row] = document(done)
    assert row["state"] == "changed" and "bench pull acdc-tiny-50" in row["detail"]


def test_a_lock_that_contradicts_the_registry_is_named(bench: Bench) -> None:
    pins.pin("dense-convnet-tiny-digits", "0" * 64, "file:other.pt")
    done = bench("registry", "lock", "dense-convnet-tiny-digits", "--json")
    assert done.exit_code == 4
    assert document(done)[0]["state"] == "contradiction"


def test_what_is_not_here_is_no_failure(bench: Bench) -> None:
    done = bench("registry", "lock", "acdc-resnet50-90")
    assert done.exit_code == 0
    assert "not here" in done.stdout and "bench pull acdc-resnet50-90" in done.stdout
