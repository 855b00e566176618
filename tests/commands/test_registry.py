"""`bench registry check`: what the registry holds, and that its networks exist."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness import registry
from harness.errors import RegistryError
from harness.maintenance.known_names import require_known_names
from harness.maintenance.recomputed_facts import ModelFacts, recompute_models
from harness.registry import Registry
from tests.commands.conftest import Bench, document, tiny_registry


def test_facts_are_one_json_object(bench: Bench) -> None:
    facts = document(bench("registry", "check", "--json"))
    known = registry.load()
    assert facts["entries"] == len(known.entries)
    assert facts["suites"]["nightly"] == len(known.suite("nightly"))
    assert facts["suspect_cells"] > 0


def test_the_plain_form_says_that_it_is_valid(bench: Bench) -> None:
    assert bench("registry", "check").stdout.endswith("registry is valid\n")


def test_a_wrong_registry_exits_with_two_and_names_line_and_column(
    bench: Bench, tmp_path: Path
) -> None:
    file = tiny_registry(tmp_path)
    file.write_text(file.read_text().replace("model: convnet_tiny", "modle: convnet_tiny"))
    done = bench("registry", "check", "--registry", file)
    assert done.exit_code == 2
    assert "acdc-tiny-50.yaml:13:5: " in done.stderr
    assert "modle" in done.stderr and "'model'" in done.stderr


def only(*ids: str, **changes: object) -> Registry:
    """The shipped registry cut down to a few entries."""
    whole = registry.load()
    entries = {id: replace(whole.get(id), **changes) for id in ids}  # type: ignore[arg-type]
    return replace(whole, entries=entries)


def test_every_network_is_built_once_and_counted() -> None:
    ids = ("dense-resnet20-cifar10", "filter-pruning-resnet20-cifar10-90.21")
    cut = only("dense-convnet-tiny-digits", *ids, "deep-compression-squeezenet1.0")
    assert recompute_models(cut) == [
        ModelFacts("convnet_tiny", "digits", 14_458, 14_288, 1),
        ModelFacts("resnet20", "cifar10", 269_722, 268_336, 2),
        ModelFacts("squeezenet1_0_caffe", "imagenet-sample", 1_248_424, 1_244_448, 1),
    ]


def test_a_network_that_cannot_be_built_names_entry_and_model() -> None:
    with pytest.raises(
        RegistryError,
        match=r"^dense-resnet20-cifar10: model 'resnet21' cannot be built for cifar10: ",
    ):
        recompute_models(only("dense-resnet20-cifar10", model="resnet21"))


def test_a_layer_pattern_that_matches_nothing_is_refused() -> None:
    cut = only("dense-resnet20-cifar10", prunable_exclude=("linear", "fc*"))
    with pytest.raises(
        RegistryError, match=r"prunable_exclude 'fc\*' matches no layer of resnet20"
    ):
        recompute_models(cut)


def test_full_prints_one_line_per_network(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = only("dense-convnet-tiny-digits")
    monkeypatch.setattr(registry, "load", lambda **ignored: cut)
    monkeypatch.setattr(Registry, "suite", lambda self, name: ())
    done = bench("registry", "check", "--full")
    assert "convnet_tiny" in done.stdout and "14,458 parameters" in done.stdout


@pytest.mark.slow
def test_every_network_of_the_registry_can_be_built() -> None:
    whole = registry.load()
    found = recompute_models(whole)
    assert sum(row.entries for row in found) == len(whole.entries)
    assert min(row.params for row in found) > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "resnet21"}, r"^acdc-convnet-tiny-digits-90: .*resnet21.*resnet20"),
        (
            {"settings": {"sparsitty": 0.9}},
            r"^acdc-convnet-tiny-digits-90: .*'sparsitty'; settings",
        ),
        ({"settings": {"sparsity": 1.5}}, r"^acdc-convnet-tiny-digits-90: .*sparsity.*1\.5"),
        ({"settings": {}}, r"^acdc-convnet-tiny-digits-90: .*needs a sparsity"),
    ],
)
def test_names_and_values_are_refused_without_building_anything(
    changes: dict[str, object], said: str
) -> None:
    require_known_names(only("acdc-convnet-tiny-digits-90"))
    with pytest.raises(RegistryError, match=said):
        require_known_names(only("acdc-convnet-tiny-digits-90", **changes))


def test_the_shipped_registry_names_only_what_there_is() -> None:
    require_known_names(registry.load())


def test_the_plain_check_refuses_what_the_method_does(bench: Bench, tmp_path: Path) -> None:
    file = tiny_registry(tmp_path)  # names no sparsity
    done = bench("registry", "check", "--registry", file)
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("bench: acdc-tiny-50: settings of the entry: acdc: ")
    right = file.read_text().replace("    rows:", "    settings: {sparsity: 0.5}\n    rows:")
    file.write_text(right)
    assert bench("registry", "check", "--registry", file).exit_code == 0
    file.write_text(right.replace("sparsity", "sparsety"))
    assert "'sparsety'" in bench("registry", "check", "--registry", file).stderr
