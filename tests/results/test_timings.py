"""Timings on record: quantiles, what counts as faster, what may stand in one table."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DamagedFile, MetricError
from harness.reports.latency_table import (
    known_to,
    timing_cells,
    timing_markdown,
    timing_rows,
    timing_sentences,
    timing_table,
)
from harness.results.timings import (
    BACKENDS,
    LatencyRecord,
    Network,
    Times,
    Timing,
    TimingPlace,
    gain,
    load,
    load_timings,
    median_interval,
    newest,
    of_one_place,
    save_timings,
)

RTOL_FLOAT64 = 1e-12  # the same interpolation, written in another order
samples = st.lists(st.floats(0.01, 1e4), min_size=2, max_size=60)


def times(p50: float, iqr: float = 1.0) -> Times:
    return Times(n=30, p25=p50 - iqr / 2, p50=p50, p75=p50 + iqr / 2, p90=p50 + iqr)


def timing(network: str, backend: str, p50: float, batch: int = 1, iqr: float = 1.0) -> Timing:
    return Timing(
        network=network,
        backend=backend,
        batch=batch,
        ms=times(p50, iqr),
        samples_ms=(p50,) * 30,
        prepare_s=0.5,
        largest_difference=1e-6,
        largest_output=4.0,
        peak_memory_bytes=3 * 2**20,
    )


@pytest.mark.parametrize(
    ("count", "ranks"), [(6, (1, 6)), (10, (2, 9)), (30, (10, 21)), (100, (40, 61))]
)
def test_the_interval_of_a_median_has_the_ranks_of_the_tables(
    count: int, ranks: tuple[int, int]
) -> None:
    ms = [float(i) for i in range(count, 0, -1)]
    assert median_interval(ms) == ranks
    low, high = ranks
    inside = sum(math.comb(count, k) for k in range(low, high)) / 2**count
    narrower = sum(math.comb(count, k) for k in range(low + 1, high - 1)) / 2**count
    assert narrower < 0.95 <= inside


def test_five_times_span_no_interval() -> None:
    with pytest.raises(ValueError, match="5 times are too few"):
        median_interval([1.0] * 5)


def test_what_is_known_is_that_of_the_worst_median() -> None:
    shaky = replace(timing("pruned", "sparse", 10.0), samples_ms=(*[9.0] * 15, *[11.0] * 15))
    shown = record(timings=(timing("dense", "eager", 40.0), shaky))
    said = "The widest 95 % interval of a median is 9.000 to 11.000 ms, 20.0 % of it (pruned on"
    assert known_to(shown).startswith(said) and known_to(shown).endswith("n = 30).")
    asked = replace(shown, protocol=2, most_repeats=60, wanted_width=0.05)
    assert known_to(asked).endswith("5 % was asked for, and 60 passes did not reach it.")
    assert known_to(replace(asked, wanted_width=0.2)).endswith("; 20 % was asked for.")


def network(name: str, nnz: int = 100) -> Network:
    return Network(
        name=name,
        model="resnet20",
        weights="random",
        params=120,
        nnz=nnz,
        total=100,
        macs_dense=1000,
        macs_effective=10 * nnz,
        dense_bytes=480,
        packed_bytes=400,
        deflated_bytes=390,
    )


def record(
    entry: str = "a-resnet20-90",
    when: str = "20261101T120000Z-00000001",
    machine: str = "aaaaaaaaaaaa",
    threads: int = 2,
    timings: tuple[Timing, ...] | None = None,
    **changes: Any,
) -> LatencyRecord:
    usual = (
        timing("dense", "eager", 40.0),
        timing("dense", "onnxruntime", 30.0),
        timing("pruned", "eager", 40.2),
        timing("pruned", "sparse", 10.0),
    )
    fields: dict[str, Any] = {
        "record_id": when,
        "created": "2026-11-01T12:00:00Z",
        "entry": entry,
        "input_shape": (3, 32, 32),
        "warmup": 2,
        "burst": 3,
        "networks": (network("dense"), network("pruned", 10)),
        "timings": usual if timings is None else timings,
        "versions": {"torch": "2.15.0"},
        "hardware": {
            "machine": machine,
            "device": "cpu",
            "threads": threads,
            "cpu": "chip",
            "cores": 2,
            "accelerator": None,
        },
        "code": {"commit": "abc", "dirty": False},
    }
    return LatencyRecord(**{**fields, **changes})


@given(samples)
def test_quantiles_are_those_of_numpy(values: list[float]) -> None:
    from harness.profile.timing import times_of

    found = times_of(values)
    expected = np.percentile(values, [25, 50, 75, 90])
    assert (found.p25, found.p50, found.p75, found.p90) == pytest.approx(expected, rel=RTOL_FLOAT64)
    assert found.iqr == pytest.approx(expected[2] - expected[0], rel=RTOL_FLOAT64, abs=1e-9)
    assert found.n == len(values)


@given(st.floats(1, 100), st.floats(1, 100), st.floats(0, 50), st.floats(0, 50))
def test_a_gain_means_something_only_if_the_quartiles_stand_apart(
    a: float, b: float, spread_a: float, spread_b: float
) -> None:
    slow, fast = times(a, spread_a), times(b, spread_b)
    found = gain(slow, fast)
    shared = min(slow.p75, fast.p75) - max(slow.p25, fast.p25)
    assert found.significant == (shared < 0)
    assert found.ratio == a / b
    assert gain(fast, slow).significant == found.significant


def test_quartiles_that_touch_are_not_apart() -> None:
    assert not gain(times(10.0, 2.0), times(8.0, 2.0)).significant
    assert gain(times(10.0, 2.0), times(8.0, 1.9)).significant


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = record()
    file = save_timings(kept, tmp_path)
    assert file == tmp_path / kept.entry / f"{kept.record_id}.json"
    assert load(file) == kept
    assert list(load_timings(tmp_path, kept.entry)) == [kept]


def test_a_record_is_never_overwritten(tmp_path: Path) -> None:
    save_timings(record(), tmp_path)
    with pytest.raises(MetricError, match="append-only"):
        save_timings(record(), tmp_path)


def test_a_file_of_another_schema_is_named_with_its_first_wrong_field(tmp_path: Path) -> None:
    file = save_timings(record(), tmp_path)
    raw = json.loads(file.read_text())
    raw["timings"][0]["ms"]["p50"] = "fast"
    file.write_text(json.dumps(raw))
    with pytest.raises(DamagedFile, match=r"a-resnet20-90/.*timings\.0\.ms\.p50"):
        load(file)


def test_newest_never_mixes_machines_or_thread_counts(tmp_path: Path) -> None:
    for i, (entry, machine, threads) in enumerate(
        [("a", "m1", 2), ("b", "m1", 2), ("a", "m1", 2), ("c", "m1", 1), ("d", "m2", 2)]
    ):
        when = f"20261101T12000{i}Z-0000000{i}"
        save_timings(record(entry, when=when, machine=machine, threads=threads), tmp_path)
    assert set(newest(folder=tmp_path)) == {"d"}  # where the newest record was taken
    assert set(newest("m1", tmp_path)) == {"c"}  # the newest thread count of that machine
    assert newest("m3", tmp_path) == {}
    two = of_one_place(load_timings(tmp_path), lambda place: place == TimingPlace("m1", "cpu", 2))
    assert {entry: r.record_id[-1] for entry, r in two.items()} == {"a": "2", "b": "1"}


def test_a_table_of_two_machines_is_refused() -> None:
    with pytest.raises(MetricError, match="timings of 2 places cannot share a table"):
        timing_rows([record(), record(machine="bbbbbbbbbbbb")])


def test_ratios_are_taken_within_one_record() -> None:
    slow_day = record(
        when="20261101T130000Z-00000002",
        timings=(timing("dense", "eager", 80.0), timing("pruned", "sparse", 20.0)),
    )
    found = {(r.timing.network, r.timing.backend): r for r in timing_rows([record(), slow_day])}
    sparse = found["pruned", "sparse"]
    assert sparse.record_id == slow_day.record_id
    assert sparse.over_eager is not None and sparse.over_eager.ratio == 4.0
    assert sparse.over_onnxruntime is None  # that record has none; another's is never borrowed
    assert found["dense", "eager"].over_eager is None


def test_the_table_says_what_is_not_significant() -> None:
    found = timing_rows([record()])
    by_way = {(r.timing.network, r.timing.backend): timing_cells(r) for r in found}
    assert by_way["pruned", "sparse"][6] == "4.00"
    assert by_way["pruned", "eager"][6] == "1.00 n.s."
    assert (
        "| 1 | pruned | sparse | 10.00 | 11.00 | 1.00 | 4.00 | 3.00 | – | 3 |"
        in timing_markdown(found)
    )


def test_a_narrow_terminal_keeps_what_matters() -> None:
    table = timing_table(timing_rows([record()]), 70)
    heads = [str(column.header) for column in table.columns]
    assert heads[:4] == ["batch", "network", "backend", "p50 ms"]
    assert "x dense eager" in heads and "prepare s" not in heads


def test_fastest_is_by_median_of_that_network_and_batch() -> None:
    kept = record(
        timings=(
            timing("dense", "eager", 1.0),
            timing("pruned", "eager", 9.0),
            timing("pruned", "sparse", 7.0),
            timing("pruned", "compile", 2.0, batch=32),
        )
    )
    best = kept.fastest("pruned", 1)
    assert best is not None and best.backend == "sparse"
    assert kept.fastest("pruned", 8) is None


def test_the_light_list_of_backends_is_the_real_one() -> None:
    from harness.profile.backends import RUNNERS

    assert tuple(RUNNERS) == BACKENDS


def test_memory_of_an_older_record_still_stands() -> None:
    slim = replace(timing("pruned", "sparse", 9.0), peak_memory_bytes=None)
    later = record(when="20261101T130000Z-00000002", timings=(timing("dense", "eager", 40.0), slim))
    found = {(r.timing.network, r.timing.backend): r for r in timing_rows([record(), later])}
    assert found["pruned", "sparse"].timing.ms.p50 == 9.0
    assert found["pruned", "sparse"].peak_memory_bytes == 3 * 2**20


def test_a_record_in_a_sentence() -> None:
    [sentence] = timing_sentences(record())
    assert sentence == ("batch 1: dense eager 40.00 ms; pruned at best 10.00 ms (sparse, 4.00 x)")
