"""`bench push`: a folder that explains itself, and an upload that is the user's own decision."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub.errors import HfHubHTTPError
from safetensors import safe_open
from torch import nn

import harness
from harness.errors import ProtocolError
from harness.export import hub_folder, hub_upload
from harness.models import build
from tests.commands.conftest import Bench, document
from tests.support.installed import ROOT

ENTRY = "acdc-convnet-tiny-digits-90"


class FakeHub:
    """What would have been sent."""

    sent: list[tuple[str, dict[str, Any]]]
    error: Exception | None = None

    def create_repo(self, repository: str, **options: Any) -> str:
        type(self).sent.append((repository, options))
        if self.error is not None:
            raise self.error
        return f"https://hub.example/{repository}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, **options: Any) -> None:
        names = sorted(path.name for path in Path(folder_path).iterdir())
        type(self).sent.append((repo_id, {"files": names}))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[FakeHub]:
    FakeHub.sent, FakeHub.error = [], None
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "a token")
    return FakeHub


def front(card: str) -> dict[str, Any]:
    """The block that a hub reads, by the YAML library."""
    _, block, _ = card.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def loaded(card: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The network that the card's own lines make."""
    code = card.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        exec(code, names)
    network: nn.Module = names["network"]
    return network


def test_the_folder_says_what_it_is_and_its_lines_load_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: type[FakeHub]
) -> None:
    monkeypatch.setenv("BENCH_RECORD", str(ROOT / "reports"))  # a result of the project's own
    folder = tmp_path / "card"
    done = bench("push", ENTRY, "--out", folder, "--offline", "--json")
    assert done.exit_code == 0, done.stderr
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "model.safetensors",
        "result.json",
    ]
    card = (folder / "README.md").read_text()
    record = json.loads((folder / "result.json").read_text())
    assert record["result_id"] == document(done)["result_id"]
    about = front(card)
    assert about["tags"] == ["pruning", "sparsity", "acdc", "convnet_tiny"]
    [found] = about["model-index"][0]["results"]
    counted = record["counts"]
    assert found["metrics"][0]["value"] == round(100 * counted["top1"] / counted["n"], 4)
    assert f"## Measured: {record['verdict']['status']}" in card
    assert "| sparsity_pct | " in card and "- mean: [" in card
    pictures = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        theirs, ours = loaded(card, folder, monkeypatch)(pictures), harness.load(ENTRY)(pictures)
    assert torch.equal(theirs, ours)
    with safe_open(folder / "model.safetensors", "pt") as opened:
        assert opened.metadata()["reprune.entry"] == ENTRY
    assert hub.sent == []  # nothing left this machine


def test_a_network_that_torchvision_has_needs_nothing_of_ours(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build("squeezenet1_1", num_classes=10)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    own = ("--model", "squeezenet1_1", "--dataset", "cifar10", "--weights", tmp_path / "mine.pth")
    done = bench("push", *own, "--out", tmp_path / "card")
    assert done.exit_code == 0, done.stderr
    card = (tmp_path / "card" / "README.md").read_text()
    assert "import torchvision" in card and "import harness" not in card
    assert "Not measured yet: `bench reproduce local-squeezenet1-1-cifar10-mine`" in card
    same = loaded(card, tmp_path / "card", monkeypatch).state_dict()
    assert all(torch.equal(same[name], value) for name, value in network.state_dict().items())


def test_an_upload_makes_the_repository_and_sends_the_folder(
    bench: Bench, tmp_path: Path, hub: type[FakeHub]
) -> None:
    to = ("--to", "my-lab/tiny-net", "--private")
    done = bench("push", ENTRY, "--out", tmp_path / "card", *to, "--offline")
    assert (done.exit_code, done.stdout) == (0, "https://hub.example/my-lab/tiny-net\n")
    [(_, made), (repository, sent)] = hub.sent
    assert made == {"private": True, "exist_ok": True}
    assert (repository, sent["files"]) == ("my-lab/tiny-net", ["README.md", "model.safetensors"])
    card = (tmp_path / "card" / "README.md").read_text()
    assert 'hf_hub_download("my-lab/tiny-net", "model.safetensors")' in card


def test_what_keeps_an_upload_from_happening_is_one_line_and_the_folder_stays(
    bench: Bench, tmp_path: Path, hub: type[FakeHub], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(number: int) -> str:
        folder = tmp_path / f"card{number}"
        done = bench("push", ENTRY, "--out", folder, "--to", "my-lab/net", "--offline")
        assert done.exit_code in (2, 4)
        [line] = done.stderr.splitlines()[-1:]
        assert str(folder) in line and (folder / "model.safetensors").is_file()
        return line

    class Answer:
        headers: dict[str, str] = {}
        request = None
        status_code = 403

    hub.error = HfHubHTTPError("403 Forbidden: you may not write here", response=Answer())  # type: ignore[arg-type]
    assert "the hub refused: 403 Forbidden: you may not write here" in refused(0)
    hub.error = None
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub, "get_token", lambda: None)
        assert "no token of the hub. Log in: hf auth login" in refused(1)
        patch.setitem(sys.modules, "huggingface_hub", None)
        assert "pip install 'reprune[hub]'" in refused(2)
    assert [repository for repository, _ in hub.sent] == ["my-lab/net"]  # the one that was refused


@pytest.mark.parametrize("name", ["net", "a/b/c", "../net", "my lab/net"])
def test_a_repository_has_an_owner_and_a_name(bench: Bench, name: str) -> None:
    done = bench("push", ENTRY, "--to", name)
    assert done.exit_code == 2 and "is not ORG/NAME" in done.stderr
    assert hub_upload.require_repository("my-lab/net") is None


def test_weights_without_a_licence_are_not_handed_on(tmp_path: Path, hub: type[FakeHub]) -> None:
    written = hub_folder.HubFolder(tmp_path, "none stated", None)
    with pytest.raises(ProtocolError, match="without a licence are not handed on"):
        hub_upload.upload(written, "my-lab/net")
    assert hub.sent == []
