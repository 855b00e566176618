"""The registry that ships: complete, equal to the transcribed tables, consistent."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import methods
from harness import paths, registry
from harness.errors import RegistryError
from harness.registry.entries import ID, Entry, Published, is_metric

TABLES = Path(__file__).parent.parent / "fixtures/specs"
REGISTRY = registry.load()
ENTRIES = list(REGISTRY.entries.values())
IN_A_WHEEL = "dense-efficientnet-lite0"  # the only file that the data folder does not bring along


def table(name: str) -> list[dict[str, str]]:
    with (TABLES / f"{name}_published.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def values(entry: Entry) -> dict[str, float]:
    return {metric: cell.value for metric, cell in entry.published.items()}


def test_every_family_has_the_rows_the_specs_call_published() -> None:
    counts = Counter((entry.paper, entry.method) for entry in ENTRIES)
    papers = Counter(entry.paper for entry in ENTRIES)
    assert counts["acdc", "acdc"] == 10
    assert counts["str", "str"] == 8 + 1  # with checkpoint + the README row without a file
    assert counts["str", "dense"] == 2
    assert papers["dnw"] == 18 + 1
    assert papers["gmp"] == 1
    assert counts["ftwt", "ftwt"] == 14  # the README prints 4 + 2 + 2 + 4 + 1 + 1
    assert counts["ftwt", "dense"] == 6
    assert counts["rd-prune", "rd"] == 8
    assert papers["ipruning"] == 110
    assert papers["edropout"] == 44
    assert papers["torchvision"] == 4
    assert papers["akamaster"] == 4
    assert papers["cnn-pruning-cifar10"] == 8


def test_rows_with_a_file_are_those_the_specs_give_links_for() -> None:
    with_file = Counter(entry.paper for entry in ENTRIES if entry.checkpoint)
    assert with_file["acdc"] == 10
    assert with_file["str"] == 10
    unreleased = ("dnw", "gmp", "ftwt", "rd-prune", "ipruning", "edropout")
    assert not any(with_file[paper] for paper in unreleased)


def test_acdc_equals_the_verified_rows() -> None:
    for row in table("acdc"):
        if row["verified"] != "yes" or not row["id"].startswith("acdc-"):
            continue
        entry = REGISTRY.get(row["id"])
        assert entry.published["top1_pct"].text == row["top1_pct"]
        assert entry.published["sparsity_pct"].text == row["sparsity_nominal_pct"]
        assert entry.settings["sparsity"] == float(row["sparsity_nominal_pct"]) / 100
        assert entry.checkpoint is not None
        assert entry.checkpoint.sources == (row["checkpoint_url"],)
        length = REGISTRY.recipes[entry.recipe or ""].length
        assert str(length) == f"{row['epochs']}ep"


def test_str_dnw_and_gmp_equal_the_readme_rows() -> None:
    seen = []
    for row in table("str"):
        read = "readme" in row["status"] or "third-party" in row["status"]
        if not read or row["method"] not in ("STR", "DNW", "GMP", "dense"):
            continue
        if "wiring" in row["setting"] or row["method"] == "dense" and "RIGL" in row["source"]:
            continue
        top1 = float(row["top1_pct"])
        paper = {"STR": "str", "DNW": "dnw", "GMP": "gmp"}.get(row["method"])
        matches = [
            entry
            for entry in ENTRIES
            if entry.paper in ((paper,) if paper else ("str", "dnw"))
            and values(entry)["top1_pct"] == top1
            and (entry.model == row["model"].lower())
        ]
        if paper == "dnw":
            dense_first = row["setting"] == "first layer dense"
            excluded = {"exclude": ["conv1"]} if dense_first else {}
            matches = [e for e in matches if {**excluded, **e.settings} == e.settings]
            matches = [e for e in matches if ("exclude" in e.settings) == dense_first]
        (entry,) = matches
        seen.append(entry.id)
        expected = {"sparsity_pct": row["sparsity_pct"]}
        if paper == "str":
            expected |= {"params_millions": row["params_M"], "flops_millions": row["flops_M"]}
        if paper:
            for metric, text in expected.items():
                assert values(entry)[metric] == float(text), (entry.id, metric)
    known = [e.id for e in ENTRIES if e.paper in ("str", "dnw", "gmp")]
    assert sorted(seen) == sorted(known)


def test_nothing_recalled_from_memory_is_published() -> None:
    recalled = {
        (row["model"].lower(), row["method"].lower(), float(row["top1_pct"]))
        for row in table("str")
        if row["status"] == "memory-unverified" and row["method"] in ("STR", "DNW", "GMP")
    }
    recalled -= {("resnet50", "gmp", 73.91)}  # also in a second table, there from memory
    printed = {
        (entry.model, entry.method, values(entry)["top1_pct"])
        for entry in ENTRIES
        if entry.paper in ("str", "dnw", "gmp")
    }
    assert not recalled & printed


def test_ftwt_equals_the_readme_table() -> None:
    own = [row for row in table("ftwt") if row["source"].startswith("README results table")]
    assert len(own) == 20
    models = {"vgg16_bn": "vgg16-bn"}
    for row in own:
        name = models.get(row["model"], row["model"])
        place = "-cifar10" if row["dataset"] == "cifar10" else ""
        if row["method"] == "dense baseline":
            entry = REGISTRY.get(f"dense-{name}{place}-ftwt")
        else:
            mass = row["setting"].removeprefix("mthresh=")
            entry = REGISTRY.get(f"ftwt-{name}{place}-{mass}-{row['variant']}")
            assert entry.settings["mass"] == float(mass)
            assert entry.settings["mode"] == row["variant"]
            assert entry.published["flops_reduction_pct"].text == row["flops_reduction_pct"]
            assert entry.baseline is not None
            dense = REGISTRY.get(entry.baseline)
            assert values(dense)["top1_pct"] == float(row["baseline_top1"])
        assert values(entry)["top1_pct"] == float(row["top1"])


def test_rd_equals_the_readme_table() -> None:
    rows = table("rd_prune")
    entries = REGISTRY.select(paper="rd-prune", method="rd")
    assert len(rows) == len(entries)
    for row, entry in zip(rows, entries, strict=True):
        assert values(entry) == {
            "top1_pct": float(row["top1"]),
            "sparsity_pct": float(row["sparsity_pct"]),
            "flops_remaining_pct": float(row["flops_remaining_pct"]),
        }
        assert (entry.published["top1_pct"].std or "") == row["top1_std"]
        assert entry.published["top1_pct"].n_runs is None


def ipruning_id(row: dict[str, str]) -> str:
    datasets = {"fashion": "fashion-mnist", "kuzushiji": "kmnist", "flowers": "flowers102"}
    paper = row["paper"].lower()
    method, _, suffix = row["method"].partition("(")
    kind = {"dense": "dense", "DeepCompression": "deep-compression"}.get(method, paper)
    model = {"squeezenet": "squeezenet1.1"}.get(row["model"], row["model"])
    end = {"P)": "pruned", "F)": "full"}.get(suffix, paper)
    return f"{kind}-{model}-{datasets.get(row['dataset'], row['dataset'])}-{end}"


@pytest.mark.parametrize("row", table("ipruning"), ids=ipruning_id)
def test_ipruning_and_edropout_equal_the_result_images(row: dict[str, str]) -> None:
    entry = REGISTRY.get(ipruning_id(row))
    printed = {metric: cell.text for metric, cell in entry.published.items()}
    assert printed == {
        "kept_pct": row["kept_pct_R"],
        "params_millions": row["params_millions"],
        "loss": row["test_loss"],
        "top1_pct": row["top1"],
        "top3_pct": row["top3"],
        "top5_pct": row["top5"],
    }
    assert {cell.source for cell in entry.published.values()} == {row["source"]}
    assert {cell.n_runs for cell in entry.published.values()} == {5}
    suspect = {cell.note for cell in entry.published.values() if cell.suspect}
    assert suspect == ({row["note"]} if row["note"] else set())


def test_suspect_cells_are_those_the_spec_doubts() -> None:
    suspect = {
        (entry.id, metric)
        for entry in ENTRIES
        if entry.paper in ("ipruning", "edropout")
        for metric, cell in entry.published.items()
        if cell.suspect
    }
    flowers = "resnet34-flowers102"
    assert suspect == {
        ("deep-compression-resnet101-fashion-mnist-ipruning", "kept_pct"),
        ("dense-resnet34-kmnist-ipruning", "top1_pct"),
        ("dense-resnet34-kmnist-edropout", "top1_pct"),
        *((f"ipruning-{m}-kmnist-pruned", t) for m in ("alexnet", "squeezenet1.1") for t in TOP35),
        ("dense-alexnet-cifar10-ipruning", "params_millions"),
        ("ipruning-alexnet-cifar10-full", "params_millions"),
        *((id, "params_millions") for id in DOUBTED_PARAMS),
        (f"deep-compression-{flowers}-ipruning", "kept_pct"),
        *((f"ipruning-{flowers}-full", t) for t in ("top1_pct", *TOP35)),
        *((f"ipruning-{flowers}-pruned", t) for t in ("top1_pct", *TOP35, "loss", "kept_pct")),
    }


TOP35 = ("top3_pct", "top5_pct")
DOUBTED_PARAMS = (
    "deep-compression-resnet18-cifar100-ipruning",
    "ipruning-resnet18-cifar100-pruned",
    "deep-compression-resnet50-cifar100-ipruning",
    "ipruning-resnet50-cifar100-pruned",
    "deep-compression-resnet50-flowers102-ipruning",
)


def test_contradictory_str_figure_stays_judged() -> None:
    cell = REGISTRY.get("str-resnet50-81").published["params_millions"]
    assert (cell.text, cell.suspect) == ("4.47", False)
    assert "4.78M" in cell.note


def test_torchvision_rows_equal_the_installed_package() -> None:
    from torchvision.models import get_model_weights

    for entry in REGISTRY.select(paper="torchvision"):
        weights = get_model_weights(entry.model).IMAGENET1K_V1
        assert entry.checkpoint is not None
        assert entry.checkpoint.sources[0] == weights.url
        scores = weights.meta["_metrics"]["ImageNet-1K"]
        assert values(entry) == {"top1_pct": scores["acc@1"], "top5_pct": scores["acc@5"]}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_entry_is_complete(entry: Entry) -> None:
    assert ID.match(entry.id)
    assert entry.paper in REGISTRY.papers
    assert entry.method in methods.BUILT_IN or entry.method in REGISTRY.external_methods
    assert REGISTRY.evaluations[entry.evaluation].dataset == entry.dataset
    assert entry.recipe is None or entry.recipe in REGISTRY.recipes
    assert all(is_metric(metric) for metric in entry.published)
    assert all(cell.source for cell in entry.published.values())
    assert (entry.method == "dense") == (entry.granularity == "dense")
    assert (entry.method == "ftwt") == (entry.granularity == "dynamic")
    if entry.granularity == "dense":
        assert entry.baseline is None
    for id in (entry.baseline,) if entry.baseline else ():
        assert REGISTRY.get(id).granularity == "dense"


def test_entries_without_accuracy_say_why() -> None:
    told = {"top1_pct", "top1_error_pct"}
    silent = [e for e in ENTRIES if not told & set(e.published) and e.paper != "reprune"]
    assert {e.id for e in silent} == {
        "dense-resnet8-cifar10-mlperf-tiny",
        "deep-compression-squeezenet1.0",
        IN_A_WHEEL,
        "dense-convnet-cifar10-edge",
        "ln-structured-convnet-cifar10-edge",
        "dense-convnet-32-64-mnist-zijie",
        "magnitude-convnet-32-64-mnist-80-zijie",
        "dense-convnet-16-32-mnist-auroral",
        "magnitude-convnet-16-32-mnist-80-auroral",
        *(entry.id for entry in REGISTRY.select(paper="tinyml6")),
        *(f"imp-lenet300-mnist-{which}" for which in ("13.5", "3.6", "best", "21.1-redrawn")),
    }
    assert all(entry.note for entry in silent)


def test_checkpoints_at_hand_have_hash_and_size() -> None:
    local = [e for e in ENTRIES if e.checkpoint and any("data:" in s for s in e.checkpoint.sources)]
    assert len(local) == 4 + 1 + 1 + 1 + 8 + 1 + 1
    for entry in local:
        assert entry.checkpoint is not None
        assert entry.checkpoint.sha256 and entry.checkpoint.size_bytes
        without_link = entry.checkpoint.format == "keras-npz" or entry.id == IN_A_WHEEL
        assert (len(entry.checkpoint.sources) == 1) == without_link
        assert entry.checkpoint.sources[-1].startswith("data:checkpoints/")


def test_checkpoint_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    import hashlib
    import os

    root = os.environ.get("BENCH_DATA_ROOT")
    if not root or not (Path(root) / "checkpoints").is_dir():
        pytest.skip("BENCH_DATA_ROOT is unset or has no checkpoints/")
    for entry in ENTRIES:
        for source in entry.checkpoint.sources if entry.checkpoint else ():
            if source.startswith("data:") and entry.checkpoint:
                path = Path(root) / source.removeprefix("data:")
                if entry.id == IN_A_WHEEL and not path.exists():
                    continue
                content = path.read_bytes()
                assert hashlib.sha256(content).hexdigest() == entry.checkpoint.sha256
                assert len(content) == entry.checkpoint.size_bytes


def test_files_without_a_licence_are_never_shipped() -> None:
    for entry in ENTRIES:
        if entry.checkpoint and entry.checkpoint.license in ("none stated", "not known"):
            assert not any(source.startswith("shipped:") for source in entry.checkpoint.sources)


def test_suites_hold_what_they_promise() -> None:
    quickstart = REGISTRY.suite("quickstart")
    static = {"dense", "magnitude", "random", "gmp", "acdc", "str", "dnw"}
    assert {entry.method for entry in quickstart} == static
    for entry in quickstart:
        assert entry.checkpoint and entry.checkpoint.sources == (f"shipped:{entry.id}.safetensors",)
        assert entry.recipe and entry.published["top1_pct"].std
    nightly = {entry.id for entry in REGISTRY.suite("nightly")}
    local = {e.id for e in ENTRIES if e.checkpoint and "data:" in "".join(e.checkpoint.sources)}
    assert nightly == (local - {IN_A_WHEEL}) | {e.id for e in REGISTRY.suite("quickstart")}
    imagenet = {entry.id for entry in REGISTRY.suite("imagenet")}
    assert imagenet == {e.id for e in ENTRIES if e.paper in ("acdc", "str") and e.checkpoint}
    assert all("imagenet" in entry.suites for entry in REGISTRY.suite("imagenet"))


def test_alias_leads_to_the_entry() -> None:
    assert REGISTRY.get("dense-str-resnet50").id == "dense-resnet50-str"


def test_unknown_id_names_the_nearest() -> None:
    with pytest.raises(RegistryError, match="did you mean 'acdc-resnet50-90'"):
        registry.get("acdc-resnet-50-90")


def test_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(RegistryError, match="did you mean 'nightly'"):
        REGISTRY.suite("nightli")


def test_select_combines_conditions() -> None:
    found = REGISTRY.select(dataset="imagenet", method="acdc", model="mobilenetv1")
    assert [entry.id for entry in found] == ["acdc-mobilenetv1-75", "acdc-mobilenetv1-90"]
    assert REGISTRY.select() == tuple(ENTRIES)


def test_settings_of_an_entry_override_those_of_its_recipe() -> None:
    settings = REGISTRY.settings_of(REGISTRY.get("acdc-resnet50-90-unif-2x"))
    assert settings["sparsity"] == 0.9
    assert settings["exclude"] == ["conv1", "fc"]
    assert settings["compress"] == [*range(10, 171, 10), 185]


def test_evaluation_moves_to_a_set_with_the_same_preprocessing() -> None:
    entry = REGISTRY.get("rd-resnet50-41")
    assert REGISTRY.evaluation(entry).name == "imagenet-224-bicubic"
    assert REGISTRY.evaluation(entry, on="imagenet").name == "imagenet-224-bicubic"
    assert REGISTRY.evaluation(entry, on="imagenet-sample").name == "imagenet-sample-224-bicubic"


@pytest.mark.parametrize("on", ["cifar10", "imagenett"])
def test_evaluation_on_a_set_without_that_preprocessing_is_refused(on: str) -> None:
    with pytest.raises(RegistryError, match="acdc-resnet50-90: nothing on data set"):
        REGISTRY.evaluation(REGISTRY.get("acdc-resnet50-90"), on=on)


def test_entry_hash_follows_claims_and_not_bookkeeping() -> None:
    from dataclasses import replace

    entry = REGISTRY.get("acdc-resnet50-90")
    first = registry.entry_sha256(entry)
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert first == registry.entry_sha256(replace(entry, note="x", suites=(), aliases=("y",)))
    moved = {**entry.published, "top1_pct": Published(text="75.0", source="README")}
    assert first != registry.entry_sha256(replace(entry, published=moved))
    hashes = {registry.entry_sha256(entry) for entry in ENTRIES}
    assert len(hashes) == len(ENTRIES)


@pytest.mark.parametrize(
    ("text", "half"),
    [("75.03", 0.005), ("75.0", 0.05), ("90", 0.5), ("4.09e3", 5.0), ("77.510", 0.0005)],
)
def test_half_unit_of_the_last_printed_digit(text: str, half: float) -> None:
    assert Published(text=text, source="s").half_unit == pytest.approx(half)


def test_import_and_load_pull_in_nothing_heavy() -> None:
    code = (
        "import sys, json, harness.registry as r; r.load(); print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(json.loads(done.stdout))
    heavy = {"torch", "torchvision", "timm", "fvcore", "mlflow", "pandas", "pydantic", "numpy"}
    assert "harness.registry" in loaded
    assert not loaded & (heavy | {"rich", "click", "pooch", "gdown", "sklearn", "safetensors"})


@pytest.mark.parametrize("method", sorted({e.method for e in ENTRIES} & set(methods.BUILT_IN)))
def test_every_setting_is_one_its_method_knows(method: str) -> None:
    known = methods.get(method).Settings
    for entry in REGISTRY.select(method=method):
        known(**REGISTRY.settings_of(entry))


def test_the_file_that_comes_with_the_code_is_read_once_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "registry.yaml"
    file.write_text(paths.registry_file().read_text())
    monkeypatch.setattr(paths, "registry_file", lambda: file)
    first = registry.load()
    assert registry.load().papers["acdc"] is first.papers["acdc"]
    mine = tmp_path / "mine.yaml"
    mine.write_text("version: 1\nsuites: {mine: [acdc-resnet50-90]}\n")
    assert registry.load(extra=[mine]).suites["mine"] == ("acdc-resnet50-90",)
    assert "mine" not in registry.load().suites
    file.write_text(file.read_text() + "#\n")
    assert registry.load().papers["acdc"] is not first.papers["acdc"]
