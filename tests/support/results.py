"""Small hand-made results: every field known, nothing measured."""

from __future__ import annotations

from typing import Any

from harness.data import ImageIdentity
from harness.registry import Override
from harness.results.schema import (
    CheckpointFacts,
    Cost,
    Counts,
    LayerCost,
    Protocol,
    Result,
    Run,
)
from harness.results.verdicts import Comparison, Verdict

LAYERS = (
    LayerCost(
        name="conv1",
        kind="conv",
        shape=(16, 3, 3, 3),
        total=432,
        nnz=108,
        macs_dense=442_368,
        macs_effective=110_592,
    ),
    LayerCost(
        name="fc",
        kind="linear",
        shape=(10, 16),
        total=160,
        nnz=40,
        macs_dense=160,
        macs_effective=40,
    ),
)


def changes(*given: tuple[str, object, object]) -> dict[str, Override]:
    """(key, value, what it was before) each, as a user typed them."""
    return {key: Override(value, was, "command line") for key, value, was in given}


def counts(top1: int, n: int = 10_000) -> Counts:
    return Counts(n=n, top1=top1, top3=n, top5=n, loss_sum=n / 4)


def made(
    entry: str = "str-a-90",
    when: str = "20261101T120000Z-00000001",
    status: str = "exact",
    published: str | None = "91.73",
    measured: float = 91.74,
    cost: Cost | None = None,
    approximate_images: int = 0,
    **changes: Any,
) -> Result:
    """A result whose id starts with its time; 75 % sparse unless `cost` says otherwise."""
    delta = None if published is None else measured - float(published)
    top1 = Comparison(
        status=status if published else "reported",
        published=published,
        source="README" if published else None,
        measured=measured,
        delta=delta,
        tolerance=0.015 if published else None,
        reason="|Δ| <= 0.015 pp",
    )
    fields: dict[str, Any] = {
        "result_id": when,
        "created": f"{when[:4]}-{when[4:6]}-{when[6:8]}T12:00:00Z",
        "entry": entry,
        "entry_sha256": "e" * 64,
        "paper": "str",
        "method": "str",
        "model": "resnet20",
        "dataset": "cifar10",
        "granularity": "unstructured",
        "mode": "evaluated",
        "protocol": Protocol(name="cifar10", version=1, sha256="a" * 64),
        "settings": {"sparsity": 0.75},
        "checkpoint": CheckpointFacts(
            sha256="c" * 64,
            source="https://host.example/file.pt",
            format="plain",
            size_bytes=1234,
            license="MIT",
            stated={"epoch": 7},
        ),
        "data": ImageIdentity(
            dataset="cifar10",
            split="test",
            fingerprint="f" * 64,
            copy_name="official",
            n_total=10_000,
            approximate_images=approximate_images,
        ),
        "counts": counts(round(100 * measured)),
        "cost": cost or a_cost(),
        "metrics": {
            "top1_pct": top1,
            "loss": Comparison(status="reported", measured=0.25, reason="not published"),
        },
        "verdict": Verdict(status=status, reason="top1_pct: |Δ| <= 0.015 pp"),
        "batch_size": 250,
        "wall_s": 12.5,
        "versions": {"python": "3.11.7", "torch": "2.6.0"},
        "hardware": {"system": "Linux", "machine": "0123456789ab", "device": "cpu"},
        "code": {"commit": "abc", "dirty": False},
    }
    return Result(**{**fields, **changes})


def a_cost(nnz: int = 148, macs_effective: int = 110_632) -> Cost:
    return Cost(
        params=620,
        nnz=nnz,
        total=592,
        macs_dense=442_528,
        macs_effective=macs_effective,
        fvcore_total=450_000,
        prunable_nnz=nnz,
        prunable_total=592,
        layers=LAYERS,
        extra={"flops_millions": 0.110632},
    )


def trained(entry: str = "local-gmp", **changes: Any) -> Result:
    """Three seeds of a user's own run: 90.0, 91.0 and 92.0."""
    runs = tuple(
        Run(
            seed=seed,
            counts=counts(top1),
            best_top1_pct=93.0,
            best_epoch=0,
            epochs=2.0,
            steps=10,
            wall_s=3.0,
            history=({"epoch": 0, "loss": 1.5}, {"epoch": 1, "loss": 0.5}),
        )
        for seed, top1 in enumerate((9_000, 9_100, 9_200))
    )
    facts: dict[str, Any] = {
        "published": None,
        "measured": 91.0,
        "status": "reported",
        "paper": None,
        "method": "gmp",
        "mode": "trained",
        "entry_sha256": None,
        "checkpoint": None,
        "runs": runs,
        "recipe": Protocol(name="cifar10-short", version=2, sha256="b" * 64),
    }
    return made(entry=entry, **{**facts, **changes})
