"""`bench pull`: obtained, verified, converted; one failure does not stop the rest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.checkpoints.conftest import files_below
from tests.commands.conftest import KEPT, Bench, acdc_file, document, tiny_registry
from tests.support.server import Server, reply


def test_the_file_is_told_by_hash_licence_and_place(
    bench: Bench, server: Server, tmp_path: Path
) -> None:
    url = server.url("/f", reply(acdc_file()))
    done = bench("pull", "acdc-tiny-50", "--registry", tiny_registry(tmp_path, url), "--json")
    assert done.exit_code == 0, done.stderr
    [facts] = document(done)
    assert (facts["id"], facts["source"], facts["size_bytes"]) == (
        "acdc-tiny-50",
        url,
        len(acdc_file()),
    )
    tensors = load_file(Path(facts["path"]))
    assert {layer: int((tensors[f"{layer}.weight"] != 0).sum()) for layer in KEPT} == KEPT


def test_what_is_here_already_is_not_fetched_again(
    bench: Bench, server: Server, tmp_path: Path
) -> None:
    registry = tiny_registry(tmp_path, server.url("/f", reply(acdc_file())))
    first = bench("pull", "acdc-tiny-50", "--registry", registry)
    second = bench("pull", "acdc-tiny-50", "--registry", registry)
    assert first.stdout == second.stdout
    assert len(server.seen) == 1
    assert first.stdout.splitlines()[0].startswith("acdc-tiny-50: ")


def test_one_failure_does_not_stop_the_rest(bench: Bench, server: Server, tmp_path: Path) -> None:
    good = tiny_registry(tmp_path, server.url("/good", reply(acdc_file())))
    page = reply(b"<!DOCTYPE html><title>Log in</title>", Content_Type="text/html")
    bad = tiny_registry(tmp_path, server.url("/bad", page), id="acdc-bad")
    done = bench(
        "pull", "acdc-bad", "acdc-tiny-50", "--registry", good, "--registry", bad, "--json"
    )
    assert done.exit_code == 4
    assert [facts["id"] for facts in document(done)] == ["acdc-tiny-50"]
    assert "acdc-bad: " in done.stderr and "HTML" in done.stderr
    assert "bench pull acdc-bad --from FILE" in done.stderr


def test_a_file_by_hand_belongs_to_one_id(bench: Bench) -> None:
    done = bench("pull", "acdc-resnet50-80", "acdc-resnet50-90", "--from", "f")
    assert done.exit_code == 2
    assert "--from gives one file; name one ID" in done.stderr


def test_a_file_by_hand_is_held_to_the_same_rules(
    bench: Bench, server: Server, tmp_path: Path
) -> None:
    registry = tiny_registry(tmp_path, "https://gone.example/f")
    (tmp_path / "page.ckpt").write_bytes(b"<html>quota exceeded</html>")
    arguments = ("pull", "acdc-tiny-50", "--registry", registry, "--from")
    assert bench(*arguments, tmp_path / "page.ckpt").exit_code == 4
    (tmp_path / "good.ckpt").write_bytes(acdc_file())
    assert bench(*arguments, tmp_path / "good.ckpt").exit_code == 0


def test_a_file_of_another_network_is_refused_and_pins_nothing(
    bench: Bench, tmp_path: Path, home: Path
) -> None:
    arguments = ("pull", "acdc-tiny-50", "--registry", tiny_registry(tmp_path, "https://gone/f"))
    other = tmp_path / "other.ckpt"
    torch.save({"model_state_dict": {"module.fc.weight": torch.zeros(10, 32)}}, other)
    done = bench(*arguments, "--from", other)
    assert done.exit_code == 4
    [told] = [line for line in done.stderr.splitlines() if line.startswith("bench: ")]
    assert told.startswith("bench: acdc-tiny-50: checkpoint and model do not fit: 16 missing")
    assert "bench show acdc-tiny-50" in told and told.count("acdc-tiny-50: ") == 1
    assert files_below(home) == []
    good = tmp_path / "good.ckpt"
    good.write_bytes(acdc_file())
    assert bench(*arguments, "--from", good).exit_code == 0
    refused = bench(*arguments, "--from", other)
    assert refused.exit_code == 4
    assert "16 missing" in refused.stderr
    assert not (home / "registry.lock").exists()


def test_a_file_given_by_hand_is_called_so_wherever_it_counts(bench: Bench, tmp_path: Path) -> None:
    registry = tiny_registry(tmp_path, "data:none.pt")
    file = tmp_path / "mine.pt"
    file.write_bytes(acdc_file())
    more = ("--registry", registry)
    assert bench("pull", "acdc-tiny-50", "--from", file, *more).exit_code == 0
    [row] = document(bench("list", "acdc-tiny", *more, "--json"))
    assert row["checkpoint"]["status"] == "by hand"
    shown = bench("show", "acdc-tiny-50", *more).stdout
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"given by hand: file:mine.pt, sha256 {sha256}" in " ".join(shown.split())
    done = bench("reproduce", "acdc-tiny-50", *more, "--no-tracking", "--json")
    [result] = document(done)
    assert result["checkpoint"]["source"] == "file:mine.pt"
    assert result["checkpoint"]["notes"][0] == "given by hand, unproven"
    table = bench("table", *more, "--format", "csv").stdout
    assert "checkpoint given by hand (file:mine.pt)" in table
    assert not (tmp_path / "home" / "registry.lock").exists()
