"""`bench table`: from stored results only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import results
from tests.commands.conftest import Bench, document
from tests.support.results import a_cost, made, trained


@pytest.fixture
def stored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four results; what is measured here is the project's record as well."""
    monkeypatch.setenv("BENCH_RECORD", str(home / "reports"))
    results.save(made(entry="a", when="20260101T120000Z-1", status="exact"))
    results.save(made(entry="a", when="20260102T120000Z-1", status="smoke", smoke="few images"))
    results.save(made(entry="b", when="20260103T120000Z-1", status="mismatch", dataset="digits"))
    results.save(trained(entry="c", when="20260104T120000Z-1"))


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("arguments", [("--json",), ("--format", "json")])
def test_json_is_one_array_and_full_runs_beat_smoke(
    bench: Bench, arguments: tuple[str, ...]
) -> None:
    rows = document(bench("table", *arguments))
    assert [(row["entry"], row["verdict"]) for row in rows] == [
        ("a", "exact"),
        ("b", "mismatch"),
        ("c", "reported"),
    ]


@pytest.mark.usefixtures("stored")
def test_filters_and_sorting_reach_the_table(bench: Bench) -> None:
    rows = document(bench("table", "--dataset", "cifar10", "--sort", "date", "--json"))
    assert [row["entry"] for row in rows] == ["c", "a"]


@pytest.mark.usefixtures("stored")
def test_the_screen_folds_at_sixty_columns(bench: Bench) -> None:
    lines = bench("table", COLUMNS="60").stdout.splitlines()
    assert max(map(len, lines)) <= 60
    heads = ["entry", "published", "evaluated", "retrained", "Δ", "pp", "verdict"]
    assert lines[0].split() == heads


@pytest.mark.usefixtures("stored")
def test_csv_and_markdown_go_to_stdout(bench: Bench) -> None:
    assert bench("table", "--format", "csv").stdout.startswith("entry,paper,method,")
    several = bench("table", "--format", "markdown").stdout
    assert several.startswith("| entry | data set | sparsity % |")
    one = bench("table", "--format", "markdown", "--dataset", "digits").stdout
    assert one.startswith("| entry | sparsity % |")  # the same in every row says nothing


@pytest.mark.usefixtures("stored")
def test_a_file_is_ordered_by_data_set_unless_told_otherwise(bench: Bench, tmp_path: Path) -> None:
    results.save(made(entry="z", when="20260105T120000Z-1", dataset="cifar10"))
    file = tmp_path / "page.md"
    file.write_text("<!-- results:begin -->\n<!-- results:end -->\n")

    def order(*words: str) -> list[str]:
        bench("table", "--into", file, *words)
        return [line[4] for line in file.read_text().splitlines() if line.startswith("| [`")]

    assert order() == ["a", "c", "z", "b"]
    assert order("--sort", "entry") == ["a", "b", "c", "z"]


@pytest.mark.usefixtures("stored")
def test_a_markdown_file_is_brought_up_to_date(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("head\n<!-- results:begin -->\nold\n<!-- results:end -->\ntail\n")
    assert bench("table", "--into", file).stdout == f"{file}: table replaced\n"
    text = file.read_text()
    assert text.startswith("head\n") and text.endswith("tail\n") and "old" not in text
    assert "91.74" in text
    assert bench("table", "--into", file).stdout == f"{file}: unchanged\n"


@pytest.mark.usefixtures("stored")
def test_links_of_a_file_lead_to_the_records_from_where_it_lies(bench: Bench, home: Path) -> None:
    for name, lead in (("README.md", "reports/results/"), ("reports/all.md", "results/")):
        file = home / name
        file.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
        bench("table", "--into", file, "--columns", "published,verdict")
        head, _, first, *_ = file.read_text().splitlines()[1:]
        assert head == "| entry | published | verdict |"
        link = re.findall(r"\]\(([^)]+)\)", first)[0]
        assert link.startswith(lead)
        assert (file.parent / link).is_file()


def test_without_results_the_first_command_is_named(bench: Bench) -> None:
    done = bench("table")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "bench reproduce --suite quickstart" in done.stderr
    assert document(bench("table", "--json")) == []


@pytest.mark.usefixtures("stored")
def test_filters_take_several_values_in_either_form(bench: Bench) -> None:
    for words in (
        ("--verdict", "mismatch,reported"),
        ("--verdict", "mismatch", "--verdict", "reported"),
    ):
        assert [row["entry"] for row in document(bench("table", *words, "--json"))] == ["b", "c"]


@pytest.mark.usefixtures("stored")
def test_columns_and_limit_narrow_every_format(bench: Bench) -> None:
    words = ("--columns", "verdict,n", "--limit", "1", "--format")
    assert bench("table", *words, "csv").stdout == "entry,verdict,about,n_images\na,exact,,10000\n"
    assert bench("table", *words, "latex").stdout.count(r"\\") == 2
    assert bench("table", *words, "html").stdout.count("<tr") == 2


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--columns", "verdikt"), "columns: entry, sparsity, macs"),
        (("--method", "acdcc"), "nearest: acdc"),
        (("--verdict", "exakt"), "nearest: exact"),
    ],
)
def test_an_unknown_word_names_the_known_ones(
    bench: Bench, words: tuple[str, ...], told: str
) -> None:
    done = bench("table", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr


@pytest.mark.usefixtures("stored")
def test_published_rows_stand_beside_measured_ones_as_printed(bench: Bench) -> None:
    results.save(made(entry="acdc-resnet50-90", when="20260105T0Z-1", dataset="imagenet"))
    filters = ("--method", "acdc,str", "--dataset", "imagenet")
    measured = document(bench("table", *filters, "--json"))
    assert [row["entry"] for row in measured] == ["acdc-resnet50-90"]
    rows = {
        row["entry"]: row for row in document(bench("table", *filters, "--published", "--json"))
    }
    assert rows["acdc-resnet50-90"]["mode"] == "evaluated"  # once, and as measured
    waiting = rows["acdc-resnet50-95"]  # AC/DC's README: 73.14 at 95 %
    assert (waiting["published_top1_pct"], waiting["published_sparsity_pct"]) == ("73.14", "95")
    assert (waiting["verdict"], waiting["evaluated_top1_pct"]) == ("not measured", None)
    assert (waiting["macs_effective"], waiting["sparsity_pct"]) == (None, None)
    assert waiting["reason"] == "a file is published and not here yet"
    text = bench("table", *filters, "--published", "--format", "csv").stdout
    assert text.count("\nacdc-resnet50-90,") == 1


@pytest.mark.usefixtures("stored")
def test_what_nobody_measured_is_sorted_last_and_can_be_asked_for(bench: Bench) -> None:
    results.save(made(entry="own", when="20260105T0Z-1", dataset="imagenet", paper=None))
    for sort in ("top1", "sparsity", "macs", "date", "delta"):
        arguments = ("table", "--dataset", "imagenet", "--published", "--sort", sort, "--json")
        shown = document(bench(*arguments))
        assert shown[0]["entry"] == "own" and len(shown) > 20, sort
    asked = bench("table", "--published", "--verdict", "not measured", "--method", "acdc", "--json")
    assert {row["verdict"] for row in document(asked)} == {"not measured"}


@pytest.mark.usefixtures("stored")
def test_an_empty_table_says_what_shows_the_published_rows(bench: Bench) -> None:
    done = bench("table", "--dataset", "kmnist")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "published rows are known, none measured" in done.stderr
    assert "bench table --dataset kmnist --published" in done.stderr
    assert "bench reproduce" in done.stderr
    done = bench("table", "--dataset", "kmnist", "--published")
    assert "not measured" in done.stdout
    nothing = bench("table", "--dataset", "kmnist", "--method", "acdc", "--published")
    assert "none of" in nothing.stderr and nothing.exit_code == 0


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--min", "top1=91.5"), ["a", "b"]),  # c was trained to 91.0
        (("--max", "macs=110k"), ["d"]),
        (("--max", "macs=0.5M", "--min", "sparsity=80%"), ["d"]),
        (("--max", "size=0.5kB"), ["d"]),
        (("--min", "top1=95"), []),
    ],
)
def test_bounds_keep_what_was_measured_within_them(
    bench: Bench, words: tuple[str, ...], expected: list[str]
) -> None:
    small = a_cost(nnz=60, macs_effective=44_000)
    results.save(made(entry="d", when="20260105T120000Z-1", measured=70.0, cost=small))
    rows = document(bench("table", *words, "--json"))
    assert [row["entry"] for row in rows] == expected


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("sort", ["size", "params", "macs"])
def test_the_smallest_network_comes_first_with_its_figure(bench: Bench, sort: str) -> None:
    small = a_cost(nnz=60, macs_effective=44_000)
    results.save(made(entry="z", when="20260105T120000Z-1", cost=small))
    assert document(bench("table", "--sort", sort, "--json"))[0]["entry"] == "z"
    head = bench("table", "--sort", sort, "--format", "markdown").stdout.splitlines()[0]
    assert {"size": "size (kB)", "params": "params (M)", "macs": "MACs (M)"}[sort] in head


@pytest.mark.parametrize("word", ["top1", "top1=", "speed=3", "top1=x", "macs=1X", "top1=1e400"])
def test_a_bound_that_is_none_is_refused_with_the_figures(bench: Bench, word: str) -> None:
    done = bench("table", "--min", word)
    assert done.exit_code == 2
    assert "top1, delta, sparsity, macs" in done.stderr or "number" in done.stderr


@pytest.mark.usefixtures("stored")
def test_presets_name_columns(bench: Bench) -> None:
    heads = bench("table", "--columns", "accuracy,verdict", "--format", "csv").stdout.split("\n")[0]
    assert heads.split(",")[:3] == ["entry", "sparsity_pct", "published_top1_pct"]
    assert heads.endswith("delta_pp,verdict,about")
    assert "presets: accuracy, cost, claims" in bench("table", "--columns", "nothing").stderr


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("ending", "begins"),
    [("md", "| entry |"), ("tex", "% "), ("csv", "entry,"), ("json", "["), ("html", "<table>")],
)
def test_the_ending_of_a_file_is_its_format(
    bench: Bench, tmp_path: Path, ending: str, begins: str
) -> None:
    file = tmp_path / f"new.{ending}"
    assert bench("table", "--out", file).stdout == f"{file}: 3 rows\n"
    assert file.read_text().startswith(begins)


@pytest.mark.usefixtures("stored")
def test_a_page_without_markers_is_not_overwritten(bench: Bench, tmp_path: Path) -> None:
    page = tmp_path / "thesis.md"
    page.write_text("years of work\n")
    assert bench("table", "--out", page).exit_code != 0
    assert page.read_text() == "years of work\n"
    unknown = bench("table", "--out", tmp_path / "table.doc")
    assert unknown.exit_code == 2 and "--format" in unknown.stderr
