"""torch.hub finds every published network, and loads one from the clone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import harness
from harness.registry import load

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository that torch.hub believes to have fetched: only those are listed and explained."""
    monkeypatch.setattr(torch.hub, "_get_cache_or_reload", lambda *a, **options: str(ROOT))
    return "me/reprune"


def test_the_hub_lists_every_entry_with_a_file_under_a_name_of_its_own(fetched: str) -> None:
    published = [entry for entry in load().entries.values() if entry.checkpoint]
    listed = torch.hub.list(fetched, trust_repo=True)
    assert len(listed) == len(set(listed)) == len(published)
    assert "acdc_resnet50_90" in listed and "filter_pruning_resnet20_cifar10_90_21" in listed
    assert all(name.isidentifier() for name in listed)


def test_a_network_is_loaded_by_its_name() -> None:
    model = torch.hub.load(str(ROOT), "acdc_convnet_tiny_digits_90", source="local")
    expected = harness.load("acdc-convnet-tiny-digits-90").state_dict()
    assert not model.training
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_without_weights_nothing_is_downloaded() -> None:
    model = torch.hub.load(str(ROOT), "acdc_resnet50_90", source="local", pretrained=False)
    assert sum(p.numel() for p in model.parameters()) == 25_557_032


def test_help_says_what_it_is(fetched: str) -> None:
    told = torch.hub.help(fetched, "acdc_resnet50_90", trust_repo=True)
    for part in ("resnet50 on imagenet, acdc", "top1_pct 75.03", "licence", "0.485", "arxiv"):
        assert part in told


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(RuntimeError, match="Cannot find callable nothing_like_it"):
        torch.hub.load(str(ROOT), "nothing_like_it", source="local")


def test_reading_the_file_builds_nothing() -> None:
    code = "import sys, hubconf; dir(hubconf); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
