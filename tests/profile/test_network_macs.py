"""MACs of networks from elsewhere equal what others count, and no weight is lost in silence."""

from __future__ import annotations

import os

import pytest

from benchmarks.network_macs import QUICK, Row, row, timm_names, torchvision_names

EVERYTHING = pytest.mark.skipif(
    not os.environ.get("BENCH_ALL_NETWORKS"), reason="takes minutes: set BENCH_ALL_NETWORKS=1"
)
PRINTED = 0.5e6  # torchvision prints thousandths of 10^9


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))


def _wrong(found: Row) -> str:
    """What is wrong with a row; "" if nothing is."""
    slack = 0.01 * found.reference + (PRINTED if found.reference_from == "torchvision" else 0)
    if abs(found.macs - found.reference) > slack:
        return f"{found.name}: {found.macs} for {found.reference} of {found.reference_from}"
    if found.found.unsupported:
        return f"{found.name}: {found.found.unsupported}"
    if set(found.found.uncounted.values()) - {"never runs in eval"}:
        return f"{found.name}: {found.found.uncounted}"
    if found.weights != len(found.found.per_layer) + len(found.found.uncounted):
        return f"{found.name}: {found.weights} weights, {len(found.found.per_layer)} with MACs"
    return f"{found.name}: {found.unlisted}" if found.unlisted else ""


# Relatives of quicker ones; the long tests below measure them all.
RELATIVES = {"swin_v2_t", "timm/swinv2_cr_tiny_ns_224", "timm/convmixer_1024_20_ks9_p14"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in RELATIVES)) for n in QUICK]
)
def test_macs_are_what_others_count_and_every_weight_has_some(name: str) -> None:
    assert _wrong(row(name)) == ""


@EVERYTHING
@pytest.mark.slow
def test_every_network_of_torchvision_up_to_95_million_parameters() -> None:
    names = torchvision_names()
    assert len(names) > 60
    assert [wrong for wrong in map(_wrong, map(row, names)) if wrong] == []


@EVERYTHING
@pytest.mark.slow
def test_forty_families_of_timm() -> None:
    names = timm_names()
    assert len(set(names)) == 40
    assert [wrong for wrong in map(_wrong, map(row, names)) if wrong] == []
