"""`bench registry add`: from answers to an entry that the registry reads."""

from __future__ import annotations

import hashlib
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import main
from harness import paths, registry
from tests.commands.conftest import Bench, acdc_file, document
from tests.support.server import Server, reply

PAPER = {
    "paper": "mine",
    "title": "1e5 ways: to prune",
    "venue": "here 2026",
    "url": "https://paper.example/",
    "paper-license": "MIT",
    "convention": "macs",
}
ENTRY = {
    "method": "acdc",
    "model": "convnet_tiny",
    "dataset": "digits",
    "id": "acdc-convnet-tiny-digits-mine",
    "source": "table 1",
    "format": "acdc",
    "license": "none stated",
}


def words(**changes: str | None) -> list[str]:
    """Options for everything, changed or (None) left out."""
    named = {**PAPER, **ENTRY, **{key.replace("_", "-"): v for key, v in changes.items()}}
    return [
        word for key, value in named.items() if value is not None for word in (f"--{key}", value)
    ]


def add(bench: Bench, target: Path, *more: object, **changes: str | None) -> Result:
    return bench("registry", "add", "--no-input", "--into", target, *words(**changes), *more)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "weights.pt"
    file.write_bytes(acdc_file())
    return file


NUMBERS = ("--published", "top1_pct=91.50", "--published", "flops_millions=4.0e3")
LINK = ("--link", "https://host.example/weights.pt")


def test_options_alone_make_a_file_that_the_registry_reads(
    bench: Bench, tmp_path: Path, weights: Path
) -> None:
    target = tmp_path / "mine.yaml"
    done = add(bench, target, "--set", "sparsity=0.5", *NUMBERS, *LINK, "--file", weights, "--json")
    assert done.exit_code == 0, done.stderr
    entry = registry.load(extra=[target]).get(ENTRY["id"])
    assert document(done)["id"] == entry.id
    assert entry.evaluation == "digits"  # the standard one of the data set
    assert entry.settings == {"sparsity": 0.5}
    assert entry.published["top1_pct"].text == "91.50"  # digits kept
    assert entry.published["flops_millions"].text == "4.0e3"
    assert entry.published["top1_pct"].source == "table 1"
    assert entry.checkpoint is not None
    assert entry.checkpoint.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert entry.checkpoint.size_bytes == weights.stat().st_size
    assert registry.load(extra=[target]).papers["mine"].title == PAPER["title"]
    listed = bench("list", "--registry", target, "--paper", "mine", "--json")
    assert [row["id"] for row in document(listed)] == [ENTRY["id"]]


def test_the_registry_itself_grows_by_these_lines_and_keeps_all_others(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "registry.yaml"
    before = paths.registry_file().read_text()
    copy.write_text(before)
    monkeypatch.setattr(paths, "registry_file", lambda: copy)
    entries = registry.load(copy).entries
    done = add(bench, copy, *NUMBERS)
    assert done.exit_code == 0, done.stderr
    matcher = SequenceMatcher(
        None, before.splitlines(), copy.read_text().splitlines(), autojunk=False
    )
    assert [tag for tag, *_ in matcher.get_opcodes() if tag != "equal"] == ["insert", "insert"]
    grown = registry.load(copy).entries
    assert {id: grown[id] for id in entries} == dict(entries)
    assert set(grown) - set(entries) == {ENTRY["id"]}


def test_a_file_of_ones_own_grows_entry_by_entry_and_keeps_its_comments(
    bench: Bench, tmp_path: Path
) -> None:
    target = tmp_path / "mine.yaml"
    assert add(bench, target).exit_code == 0
    target.write_text("# mine, all mine\n" + target.read_text() + "\n# the end\n")
    second = {"title": None, "venue": None, "url": None, "paper_license": None, "convention": None}
    words_of_second = {**second, "id": "acdc-convnet-tiny-digits-other"}
    done = add(bench, target, "--registry", target, **words_of_second)
    assert done.exit_code == 0, done.stderr
    text = target.read_text()
    assert text.startswith("# mine, all mine\n") and "\n# the end\n" in text
    found = registry.load(extra=[target])
    assert [e.id for e in found.entries.values() if e.paper == "mine"] == [
        ENTRY["id"],
        "acdc-convnet-tiny-digits-other",
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dataset": "digitz"}, "did you mean 'digits'?"),
        ({"model": "convnet_tinny"}, "model 'convnet_tinny' cannot be built"),
        ({"id": "dense-convnet-tiny-digits"}, "is already taken"),
        ({"id": "Not An Id"}, "is not an id"),
        ({"convention": "flops"}, "--convention: 'flops' is not known"),
        ({"recipe": "digits-shortt"}, "did you mean 'digits-short'?"),
        ({"model": None}, "--model is needed"),
        ({"method": "brand-new"}, "--about is needed"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_written(
    bench: Bench, tmp_path: Path, changes: dict[str, str | None], told: str
) -> None:
    target = tmp_path / "mine.yaml"
    done = add(bench, target, **changes)
    assert done.exit_code == 2
    assert told in done.stderr
    assert list(tmp_path.glob("*mine*")) == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--published", "top1_pct=about 91"), "is not a printed number"),
        (("--published", "top1=91.5"), "did you mean 'top1_pct'?"),
        (("--link", "ftp://host.example/x"), "is not a source"),
        (("--file", "weights.pt"), "say where it lies: --link"),
        (("--set", "sparsity"), "expected KEY=VALUE"),
    ],
)
def test_a_wrong_value_is_told_and_nothing_is_written(
    bench: Bench, tmp_path: Path, more: tuple[str, ...], told: str
) -> None:
    target = tmp_path / "mine.yaml"
    done = add(bench, target, *more)
    assert done.exit_code == 2
    assert told in done.stderr
    assert not target.exists()


def test_tensors_of_another_network_are_refused_before_anything_is_written(
    bench: Bench, tmp_path: Path, weights: Path
) -> None:
    target = tmp_path / "mine.yaml"
    other = {"model": "resnet20", "dataset": "cifar10"}
    done = add(bench, target, *LINK, "--file", weights, **other)
    assert done.exit_code == 4
    assert "checkpoint and model do not fit" in done.stderr
    assert not target.exists()


def test_a_page_is_no_checkpoint(bench: Bench, tmp_path: Path) -> None:
    page = tmp_path / "page.pt"
    page.write_text("<html><title>Sign in</title></html>")
    done = add(bench, tmp_path / "mine.yaml", *LINK, "--file", page)
    assert done.exit_code == 4
    assert "file is HTML" in done.stderr


def test_a_link_is_fetched_for_its_hash(bench: Bench, server: Server, tmp_path: Path) -> None:
    body = acdc_file()
    target = tmp_path / "mine.yaml"
    done = add(bench, target, "--link", server.url("/w.pt", reply(body)), "--fetch")
    assert done.exit_code == 0, done.stderr
    assert hashlib.sha256(body).hexdigest() in done.stdout


def test_sections_in_one_line_are_refused(bench: Bench, tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    target.write_text(
        "version: 1\nfamilies: [{paper: acdc, method: acdc, model: convnet_tiny, "
        "dataset: digits, evaluation: digits, rows: [{id: a-b-1}]}]\n"
    )
    before = target.read_text()
    done = add(bench, target)
    assert done.exit_code == 2
    assert "written in one line" in done.stderr
    assert target.read_text() == before


def test_a_contributor_is_walked_through(tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    answers = [
        *("mine", "A title", "here 2026", "https://paper.example/", "", "MIT", "macs"),
        *("trimming", "cuts what sticks out", ""),
        *("convnet_tiny", "digits", "unstructured", "digits", "", ""),
        "",  # the suggested id
        *("top1_pct", "91.5", "table 2", "sparsity_pct", "90", ""),  # same source again
        *("", ""),  # no more metrics, no link
    ]
    done = CliRunner().invoke(
        main, ["registry", "add", "--into", str(target)], input="\n".join(answers) + "\n"
    )
    assert done.exit_code == 0, done.output
    found = registry.load(extra=[target])
    entry = found.get("trimming-convnet-tiny-digits")
    assert found.external_methods["trimming"] == "cuts what sticks out"
    assert {name: (c.text, c.source) for name, c in entry.published.items()} == {
        "top1_pct": ("91.5", "table 2"),
        "sparsity_pct": ("90", "table 2"),
    }
    assert f"bench reproduce {entry.id} --registry {target}" in done.stdout


def test_a_slip_of_the_keyboard_is_asked_again_and_nothing_typed_is_lost(tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    answers = [
        "acdc",
        *("acdc", "sparsity 0.9", "sparsity=0.9 allocation=global"),
        *("convnet_tinny", "convnet_tiny", "digitz", "digits", "filters", "unstructured"),
        *("imagenet", "digits", "digits-shortt", "digits-short"),
        *("dense-convnet-tiny-digit", "dense-convnet-tiny-digits"),
        *("acdc-convnet-tiny-digits-90", "Mine!", "acdc-convnet-tiny-digits-90-mine"),
        *("top1", "top1_pct", "about 91", "91.5", "table 2", ""),
        *("weights.pt", "https://host.example/weights.pt", "acdcc", "acdc", "MIT", "n"),
    ]
    words = ["registry", "add", "--into", str(target)]
    done = CliRunner().invoke(main, words, input="\n".join(answers) + "\n")
    assert done.exit_code == 0, done.output
    told = [line for line in done.output.splitlines() if "Error: " in line]
    for expected in ("KEY=VALUE", "'convnet_tinny'", "did you mean 'digits'?", "'filters'"):
        assert any(expected in line for line in told), expected
    for expected in ("is already taken", "is not an id", "printed number", "is not a source"):
        assert any(expected in line for line in told), expected
    assert len(told) == 13
    entry = registry.load(extra=[target]).get("acdc-convnet-tiny-digits-90-mine")
    assert entry.settings == {"sparsity": 0.9, "allocation": "global"}
    assert (entry.recipe, entry.baseline) == ("digits-short", "dense-convnet-tiny-digits")
    assert entry.published["top1_pct"].text == "91.5"
    assert entry.checkpoint is not None
    assert entry.checkpoint.sources == ("https://host.example/weights.pt",)
