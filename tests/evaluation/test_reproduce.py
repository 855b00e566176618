"""Entries from the registry to results, together: groups, memory, order, failures, resuming."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness import registry
from harness.checkpoints.network import load_model
from harness.data import evaluation_batches
from harness.evaluation import reproduce as suite
from harness.evaluation.protocol import Evaluated, evaluate, evaluate_together
from harness.evaluation.reproduce import (
    Outcome,
    reproduce_entry,
    reproduce_together,
    weight_bytes,
    weights_budget,
)
from harness.models import build
from harness.registry import Registry
from harness.results.store import load_all, on_record
from harness.system.options import Options

pytestmark = pytest.mark.usefixtures("home")

SHIPPED = (
    "dense-convnet-tiny-digits",
    "magnitude-convnet-tiny-digits-90",
    "acdc-convnet-tiny-digits-90",
)


@pytest.fixture(scope="module")
def known() -> Registry:
    return registry.load()


class Stages:
    def __init__(self) -> None:
        self.told: list[str] = []

    def stage(self, text: str, total: int | None = None) -> None:
        self.told.append(text)

    def advance(self, amount: int = 1, **facts: float) -> None:
        """Of no interest here."""

    def note(self, text: str) -> None:
        self.told.append(text)

    @property
    def passes(self) -> list[str]:
        return [text for text in self.told if "evaluate on" in text]


def together(
    known: Registry, ids: tuple[str, ...], resume: bool = False, **options: object
) -> tuple[list[Outcome], Stages]:
    stages = Stages()
    chosen = Options(offline=True, progress=stages, **options)  # type: ignore[arg-type]
    entries = [known.get(entry_id) for entry_id in ids]
    return list(reproduce_together(entries, known, chosen, resume=resume)), stages


def test_results_are_those_of_one_by_one(known: Registry) -> None:
    outcomes, stages = together(known, SHIPPED)
    assert stages.passes == ["dense-convnet-tiny-digits and 2 more: evaluate on digits"]
    for outcome in outcomes:
        assert outcome.result is not None and not outcome.on_record
        alone = reproduce_entry(outcome.entry, known, Options(offline=True))
        moves = {"result_id": "", "created": "2026-01-01T00:00:00Z", "wall_s": 0.0}
        assert replace(outcome.result, **moves) == replace(alone, **moves)


def test_without_memory_for_all_there_are_more_passes(
    known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = weight_bytes(build("convnet_tiny", num_classes=10, in_channels=1))
    assert size == 4 * 14_618 + 8 * 3  # float32, and how many batches each of three norms saw
    monkeypatch.setattr(suite, "WEIGHTS_FRAC", 2.5 * size / (weights_budget("cpu") * 2))
    whole, stages = together(known, SHIPPED)
    assert stages.passes == [
        f"{SHIPPED[0]} and 1 more: evaluate on digits",
        f"{SHIPPED[2]}: evaluate on digits",
    ]
    monkeypatch.setattr(suite, "WEIGHTS_FRAC", 0.0)  # even then one at a time
    outcomes, stages = together(known, SHIPPED)
    assert [text.partition(":")[0] for text in stages.passes] == list(SHIPPED)
    for one, other in zip(outcomes, whole, strict=True):
        assert one.result is not None and other.result is not None
        assert one.result.counts == other.result.counts
        assert one.result.predictions_sha256 == other.result.predictions_sha256


def test_a_missing_file_and_wrong_keys_stop_nobody(known: Registry, tmp_path: Path) -> None:
    gone = replace(known.get("acdc-resnet50-90"), evaluation="digits", dataset="digits")
    wrong = replace(known.get(SHIPPED[1]), model="resnet20")
    entries = [gone, wrong, known.get(SHIPPED[0])]
    options = Options(offline=True, data_root=tmp_path)
    outcomes = list(reproduce_together(entries, known, options, resume=False))
    found = {outcome.entry.id: outcome for outcome in outcomes}
    assert type(found[gone.id].error).__name__ == "CheckpointUnavailable"
    assert type(found[wrong.id].error).__name__ == "KeyMismatch"
    assert found[SHIPPED[0]].result is not None


def test_data_that_is_missing_fails_its_own_group_only(known: Registry, tmp_path: Path) -> None:
    imagenet = known.get("dense-resnet18-torchvision")
    outcomes = list(
        reproduce_together(
            [imagenet, known.get(SHIPPED[0])],
            known,
            Options(offline=True, data_root=tmp_path),
            resume=False,
        )
    )
    assert outcomes[0].error is not None and "imagenet, too, is missing" in str(outcomes[0].error)
    assert outcomes[1].result is not None


def test_resuming_repeats_only_what_is_not_on_record(known: Registry) -> None:
    first, _ = together(known, SHIPPED[:2], resume=True)
    assert not any(outcome.on_record for outcome in first)
    second, stages = together(known, SHIPPED, resume=True)
    assert {o.entry.id: not o.on_record for o in second} == {
        SHIPPED[0]: False,
        SHIPPED[1]: False,
        SHIPPED[2]: True,
    }
    assert stages.passes == [f"{SHIPPED[2]}: evaluate on digits"]
    assert [o.result for o in second if o.on_record] == [o.result for o in first]
    assert len(list(load_all())) == 3
    third, _ = together(known, SHIPPED, resume=False)
    assert not any(outcome.on_record for outcome in third)
    assert len(list(load_all())) == 6


def test_a_smoke_run_is_no_record_of_a_full_one(known: Registry) -> None:
    together(known, SHIPPED[:1], resume=True, limit=20)
    (full,), _ = together(known, SHIPPED[:1], resume=True)
    assert not full.on_record
    (smoke,), _ = together(known, SHIPPED[:1], resume=True, limit=20)
    assert smoke.on_record


def test_another_condition_is_no_record(known: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    ((outcome,), _) = together(known, SHIPPED[:1])
    result = outcome.result
    assert result is not None and result.checkpoint is not None
    evaluation = known.evaluation(outcome.entry)
    conditions = {
        "entry": outcome.entry,
        "evaluation": evaluation,
        "checkpoint_sha256": result.checkpoint.sha256,
        "fingerprint": result.data.fingerprint,
        "n": result.n_images,
        "device": "cpu",
        "fast": False,
    }
    assert on_record(**conditions) == result  # type: ignore[arg-type]
    for change in (
        {"entry": replace(outcome.entry, published={})},
        {"evaluation": replace(evaluation, version=99)},
        {"checkpoint_sha256": "0" * 64},
        {"fingerprint": "0" * 64},
        {"n": 5},
        {"fast": True},
    ):
        assert on_record(**{**conditions, **change}) is None  # type: ignore[arg-type]
    monkeypatch.setattr(
        "harness.system.provenance.code_version", lambda: {"commit": "x", "dirty": False}
    )
    assert on_record(**conditions) is None  # type: ignore[arg-type]


@pytest.mark.realdata
def test_squeezenet_and_two_more_share_a_pass_over_real_pictures(known: Registry) -> None:
    name = "songhan-squeezenet-deep-compression/compressed_SqueezeNet.net"
    root = Path(os.environ["BENCH_DATA_ROOT"])
    for below in ("imagenet-sample/val", f"checkpoints/{name}"):
        if not (root / below).exists():
            pytest.skip(f"{below} is not below BENCH_DATA_ROOT")
    entry = known.get("deep-compression-squeezenet1.0")
    options = Options(offline=True, data_root=root)
    models = {entry.id: load_model(entry, options)[0]}
    for seed, other in enumerate(("squeezenet1_1", "mobilenet_v3_small")):
        torch.manual_seed(seed)
        models[other] = build(other, num_classes=1000)
    batches = evaluation_batches(known.evaluation(entry), root, "cpu", 8, limit=24)
    together = evaluate_together(list(models.values()), batches)
    for model, shared in zip(models.values(), together, strict=True):
        alone = evaluate(model, batches)
        assert isinstance(shared, Evaluated) and shared.counts == alone.counts
        assert (shared.predictions == alone.predictions).all()


@pytest.fixture
def stated_twice(tmp_path: Path) -> Registry:
    """A published row whose preprocessing another place states otherwise."""
    file = tmp_path / "more.yaml"
    gray = "version: 1, dataset: digits, split: test, channels: gray, mean: [0.3053], std: [0.3760]"
    file.write_text(
        f"""version: 1
papers:
  theirs: {{title: T, venue: V, url: u, code: null, license: MIT, flops_convention: macs}}
evaluations:
  digits-bright: {{{gray}, scale: 2.0}}
families:
  - paper: theirs
    method: dense
    granularity: dense
    model: convnet_tiny
    dataset: digits
    evaluation: digits-bright
    also_stated: [digits]
    checkpoint: {{format: safetensors, sources: ["shipped:dense-convnet-tiny-digits.safetensors"]}}
    published: {{source: README}}
    rows:
      - {{id: dense-a, published: {{top1_pct: "98.63"}}}}
      - {{id: dense-b, published: {{top1_pct: "12.34"}}}}
"""
    )
    return registry.load(extra=[file])


def test_every_stated_variant_is_measured_and_kept(stated_twice: Registry) -> None:
    holds, undecided = (o.result for o in together(stated_twice, ("dense-a", "dense-b"))[0])
    assert holds is not None and undecided is not None
    ours = stated_twice.get("dense-convnet-tiny-digits")
    plain = reproduce_entry(ours, stated_twice, Options(offline=True))
    assert plain.counts is not None and holds.counts is not None
    for result in (holds, undecided):
        (variant,) = result.variants
        assert (variant.protocol.name, variant.counts) == ("digits", plain.counts)
        assert variant.predictions_sha256 == plain.predictions_sha256
        assert result.protocol.name == "digits-bright"
        assert result.counts != plain.counts
    said = f"digits-bright gives {holds.counts.top1_pct:.2f}, digits gives"
    assert said in holds.metrics["top1_pct"].reason
    assert said in undecided.metrics["top1_pct"].reason
    assert holds.metrics["top1_pct"].reason.startswith("as digits prepares pictures, ")
    assert undecided.verdict.status == "ambiguous preprocessing"
    assert undecided.metrics["top1_pct"].reason.startswith("stated in 2 variants, none gives 12.34")
    assert {result.result_id: result for result in load_all()}[holds.result_id] == holds


def test_a_part_of_the_images_is_not_judged_by_variants(stated_twice: Registry) -> None:
    (outcome,), _ = together(stated_twice, ("dense-b",), limit=50)
    assert outcome.result is not None
    assert (outcome.result.variants, outcome.result.verdict.status) == ((), "smoke")
