"""Every way to get a registry file wrong: the message points at the place and says what to do.

In the texts, @@ stands in front of the place that must be reported; it is not part of the file.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import registry
from harness.errors import RegistryError
from harness.registry import plain_yaml

PAPER = "{title: T, venue: V, url: u, code: null, license: none stated, flops_convention: macs}"
EVALUATION = "{version: 1, dataset: digits, split: test, channels: gray, mean: [0.3], std: [0.4]}"
RECIPE = "{version: 1, length: 2ep, batch: 8, optimizer: {name: sgd, lr: 0.1}, specified_by: paper}"
TOP = f"""version: 1
papers:
  p: {PAPER}
evaluations:
  e: {EVALUATION}
recipes:
  r: {RECIPE}
external_methods:
  theirs: a method of others
"""
FAMILY = """families:
  - paper: p
    method: magnitude
    model: convnet_tiny
    dataset: digits
    evaluation: e
    recipe: r
    published: {source: README}
    checkpoint: {format: plain}
    settings: {allocation: global}
    rows:
      - {id: dense-a, method: dense, granularity: dense, settings: {}, checkpoint: null}
      - {id: magnitude-a-90, baseline: dense-a, settings: {sparsity: 0.9},
         published: {top1_pct: "97.50"}, checkpoint: {sources: ["https://host/file"], sha256: null}}
suites:
  s: [dense-a, magnitude-a-90]
"""
TABLE = """families:
  - paper: p
    method: theirs
    model: convnet_tiny
    dataset: digits
    evaluation: e
    published: {source: README}
    columns: [id, settings.rate, top1_pct, loss]
    doubts:
      a-2: {loss: impossible}
    table: |
      a-1  0.5  97.50  0.10

      a-2  0.7  96.00  0.05
"""


def write(folder: Path, text: str, name: str = "r.yaml") -> tuple[Path, str]:
    """The file without its mark, and the "line:column" the mark stood at."""
    before, mark, after = text.partition("@@")
    path = folder / name
    path.write_text(before + after)
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return path, f"{path}:{line}:{column}: " if mark else f"{path}:"


def changed(old: str, new: str, text: str = TOP + FAMILY) -> str:
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    return text.replace(old, new)


def refused(folder: Path, text: str) -> str:
    path, place = write(folder, text)
    with pytest.raises(RegistryError) as caught:
        registry.load(path)
    message = str(caught.value)
    assert message.startswith(place), message
    assert "\n" not in message
    return message


def test_the_unchanged_file_is_read(tmp_path: Path) -> None:
    loaded = registry.load(write(tmp_path, TOP + FAMILY)[0])
    entry = loaded.get("magnitude-a-90")
    assert entry.settings == {"allocation": "global", "sparsity": 0.9}
    assert entry.published["top1_pct"].source == "README"
    assert entry.checkpoint is not None
    assert (entry.checkpoint.format, entry.checkpoint.sources) == ("plain", ("https://host/file",))
    assert entry.suites == ("s",)
    assert loaded.get("dense-a").checkpoint is None
    assert loaded.get("dense-a").settings == {"allocation": "global"}


def test_a_row_overrides_its_family_key_by_key(tmp_path: Path) -> None:
    text = changed("settings: {sparsity: 0.9}", "settings: {sparsity: 0.9, allocation: lamp}")
    text = changed('{top1_pct: "97.50"}', '{top1_pct: "97.50", source: poster}', text)
    text = changed("sha256: null}", "format: rd}", text)
    entry = registry.load(write(tmp_path, text)[0]).get("magnitude-a-90")
    assert entry.settings == {"allocation": "lamp", "sparsity": 0.9}
    assert entry.published["top1_pct"].source == "poster"
    assert entry.checkpoint is not None and entry.checkpoint.format == "rd"


def test_the_unchanged_table_is_read(tmp_path: Path) -> None:
    loaded = registry.load(write(tmp_path, TOP + TABLE)[0])
    first, second = loaded.get("a-1"), loaded.get("a-2")
    assert first.settings == {"rate": 0.5}
    assert first.published["top1_pct"].text == "97.50"
    assert (second.published["loss"].suspect, second.published["loss"].note) == (True, "impossible")
    assert not second.published["top1_pct"].suspect


STRUCTURE = [
    ("recipes:\n", "@@recipe:\n", "unknown section 'recipe'; did you mean 'recipes'?"),
    ("version: 1\npapers", "version: @@2\npapers", "version 2 is newer than 1"),
    ("version: 1\npapers", 'version: @@"1"\npapers', "expected `version: 1`, found '1'"),
    ("version: 1\npapers", "@@papers", "expected `version: 1`, found None"),
    (f"  p: {PAPER}", "  @@{a: b}: 1", "a key must be a single word"),
    (f"papers:\n  p: {PAPER}", "papers: @@[p]", "expected a mapping, found ['p']"),
    (f"  p: {PAPER}", "  p: @@text", "expected a mapping, found 'text'"),
    ("families:\n  - paper: p\n", "families:\n  - @@papr: p\n", "unknown key 'papr'"),
    ("    recipe: r\n", "    recipe: r\n    @@suites: [s]\n", "unknown key 'suites'"),
    ("    rows:\n", "    @@row:\n", "unknown key 'row'; did you mean 'rows'?"),
    ("id: magnitude-a-90,", "id: magnitude-a-90, @@modle: x,", "did you mean 'model'?"),
    ("    settings: {allocation: global}", "    settings: @@[1]", "expected a mapping"),
    ("    model: convnet_tiny\n", "    model: @@7\n", "expected text, found 7 (put it in quotes)"),
    ("  s: [dense-a", "  s: @@dense-a # [", "expected a list of entry ids, found 'dense-a'"),
]
VALUES = [
    ("id: magnitude-a-90", "id: @@Magnitude_A", "'Magnitude_A' is not an id"),
    ("id: magnitude-a-90", "id: @@a--b", "'a--b' is not an id"),
    ('"97.50"', "@@97.50", 'expected a printed number in quotes, such as "75.03", found 97.5'),
    ('"97.50"', '@@"97,50"', "'97,50' is not a printed number"),
    ('"97.50"', '@@"~97"', "'~97' is not a printed number"),
    ('"97.50"', "{text: @@97.50}", "expected text, found 97.5 (put it in quotes)"),
    ('"97.50"', '{text: "97.50", std: @@"a bit"}', "'a bit' is not a printed number"),
    ('"97.50"', '{text: "97.50", suspect: @@true}', "a suspect number needs a note"),
    ('"97.50"', '{text: "97.50", n_runs: @@"3"}', "expected a whole number, found '3'"),
    ("top1_pct:", "@@top1_pc:", "unknown metric 'top1_pc'; did you mean 'top1_pct'?"),
    ("sha256: null", "sha256: @@abc", "'abc' is not a sha256"),
    ("sha256: null", f"sha256: @@{'A' * 64}", "is not a sha256: 64 digits of 0-9a-f"),
    ('"https://host/file"', '@@"ftp://host/file"', "'ftp://host/file' is not a source; forms:"),
    ('"https://host/file"', '@@"https://"', "'https://' is not a source"),
    ('"https://host/file"', '@@"data:/etc/passwd"', "is not a source"),
    ('"https://host/file"', '@@"data:a/../../b"', "is not a source"),
    ('"https://host/file"', '@@"gdrive:https://drive"', "is not a source"),
    ('["https://host/file"]', "@@[]", "no source; give at least one"),
    ("{format: plain}", "{format: @@plian}", "unknown value 'plian'; did you mean 'plain'?"),
    ("granularity: dense", "granularity: @@densely", "did you mean 'dense'?"),
    ("flops_convention: macs", "flops_convention: @@mac", "did you mean 'macs'?"),
    ("mean: [0.3]", "mean: @@[0.3, 0.3]", "gray pictures need 1 values, found 2"),
    ("mean: [0.3]", "mean: [@@dark]", "expected a number, found 'dark'"),
    ("std: [0.4]", "std: @@[0.0]", "it must be above 0"),
    ("dataset: digits, split", "dataset: @@digit, split", "did you mean 'digits'?"),
    ("length: 2ep", "length: @@2", 'expected a duration such as "160ep"'),
    ("name: sgd", "name: @@sdg", "unknown value 'sdg'; did you mean 'sgd'?"),
    ("{name: sgd, lr: 0.1}", "@@{name: sgd}", "key 'lr' is missing"),
]
REFERENCES = [
    ("- paper: p", "- paper: @@q", "no paper is called 'q'; known: p"),
    ("    evaluation: e\n", "    evaluation: @@f\n", "no evaluation is called 'f'; known: e"),
    ("    recipe: r\n", "    recipe: @@rr\n", "no recipe is called 'rr'; did you mean 'r'?"),
    ("baseline: dense-a", "baseline: @@dense-b", "no entry is called 'dense-b'; did you mean"),
    ("baseline: dense-a", "baseline: @@magnitude-a-90", "is not a dense entry on 'digits'"),
    ("method: magnitude", "method: @@magnitud", "did you mean 'magnitude'?"),
    ("    dataset: digits\n", "    dataset: @@cifar10\n", "evaluation 'e' is on 'digits'"),
    ("s: [dense-a, magnitude", "s: [dense-a, @@magnitud", "no entry is called 'magnitud-a-90'"),
    ("s: [dense-a,", "s: [dense-a, @@dense-a,", "'dense-a' appears twice in this suite"),
    ("length: 2ep,", "length: 2ep, start: @@dense-c,", "no entry is called 'dense-c'"),
    ("evaluation: e\n", "evaluation: e\n    also_stated: @@[f]\n", "no evaluation is called 'f'"),
    ("evaluation: e\n", "evaluation: e\n    also_stated: [@@e]\n", "'e' is stated twice for"),
    ("evaluation: e\n", "evaluation: e\n    also_stated: @@e\n", "expected a list, found 'e'"),
    ("id: magnitude-a-90", "id: @@dense-a", "id 'dense-a' is already taken (first at"),
    ("id: magnitude-a-90", "aliases: @@[dense-a], id: m", "id 'dense-a' is already taken"),
    ("id: magnitude-a-90", "id: m, aliases: [@@m]", "'m' cannot be an alias of 'm'"),
    ("  theirs:", "  @@gmp:", "method 'gmp' is built in, not external"),
]


@pytest.mark.parametrize(("old", "new", "text"), STRUCTURE + VALUES + REFERENCES)
def test_error_points_at_the_place(old: str, new: str, text: str, tmp_path: Path) -> None:
    assert text in refused(tmp_path, changed(old, new))


def test_recipe_that_starts_from_a_baseline_needs_one(tmp_path: Path) -> None:
    text = changed("recipe: r\n", "recipe: @@r\n").replace(
        "length: 2ep", "length: 2ep, start: baseline"
    )
    assert "starts from the baseline" in refused(tmp_path, text)


def test_fault_in_a_family_default_points_at_the_family(tmp_path: Path) -> None:
    text = changed("checkpoint: {format: plain}", "checkpoint: {format: plain, @@size: 3}")
    assert "unknown key 'size'; did you mean 'size_bytes'?" in refused(tmp_path, text)


def test_missing_key_points_at_the_row(tmp_path: Path) -> None:
    text = changed("    model: convnet_tiny\n", "").replace("- {id: dense-a", "- @@{id: dense-a")
    assert "key 'model' is missing" in refused(tmp_path, text)


def test_number_without_source_points_at_the_number(tmp_path: Path) -> None:
    text = changed("    published: {source: README}\n", "").replace('"97.50"', '@@"97.50"')
    assert "source" in refused(tmp_path, text)


TABLES = [
    ("a-1  0.5  97.50", "a-1  0.5  @@97,50", "'97,50' is not a printed number"),
    ("a-1  0.5  97.50", "@@A-1  0.5  97.50", "'A-1' is not an id"),
    ("a-2  0.7", "@@a-1  0.7", "id 'a-1' is already taken"),
    ("      a-1  0.5  97.50  0.10", "@@      a-1  0.5  97.50", "3 cells in a table of 4 columns"),
    ("top1_pct, loss]", "top1_pct, @@los]", "unknown column 'los'; did you mean 'loss'?"),
    ("columns: [id,", "columns: @@[model,", "one of the columns must be `id`"),
    ("a-2: {loss: impossible}", "@@a-3: {loss: impossible}", "no row of this table is called"),
    ("a-2: {loss:", "a-2: {@@top5_pct:", "no column of this table is the metric 'top5_pct'"),
    ("{loss: impossible}", "{loss: @@true}", "a doubt needs a reason"),
    ("a-2: {loss: impossible}", "a-2: @@bad", "expected {metric: reason}, found 'bad'"),
    ("table: |", "table: @@>", "a table is a block of lines"),
    ("    columns: [id, settings.rate, top1_pct, loss]\n", "", "a table needs `columns`"),
]


@pytest.mark.parametrize(("old", "new", "text"), TABLES)
def test_error_in_a_table_points_at_the_cell(old: str, new: str, text: str, tmp_path: Path) -> None:
    expected = refused(tmp_path, changed(old, new, TOP + TABLE))
    assert text in expected


def test_family_without_rows_is_refused(tmp_path: Path) -> None:
    text = "version: 1\nfamilies:\n  - @@paper: p\n"
    assert "a family needs `rows` or `table`" in refused(tmp_path, text)


PLAIN = [
    ("version: 1\n@@version: 1\n", "key 'version' appears twice in one mapping (first on line 1)"),
    ("version: 1\nx: @@&a 3\n", "anchor &a: anchors are not plain data"),
    ("version: 1\nx: @@*a\n", "alias *a"),
    ("version: 1\nx: @@!!python/object/apply:os.system [ls]\n", "python/object/apply:os.system"),
    ("version: 1\nx: @@!mine 3\n", "tag '!mine'"),
    ("version: 1\n@@---\nversion: 1\n", "expected a single document"),
    ("version: 1\nx: @@]\n", "not YAML"),
    ("@@- 1\n", "expected a mapping with `version: 1` at the top, found a sequence"),
    ("@@just text\n", "found the scalar 'just text'"),
    ("", "found the scalar None"),
    ("version: 1\nx: a @@\x01\n", "character U+0001"),
    ("version: 1\nx: " + "[" * 11 + "@@[[[[\n", "nested deeper than 12 levels"),
]


@pytest.mark.parametrize(("source", "text"), PLAIN)
def test_only_plain_yaml_is_read(source: str, text: str, tmp_path: Path) -> None:
    assert text in refused(tmp_path, source)


def test_alias_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "anchor &a" in refused(tmp_path, bomb)


def test_big_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"#" * (plain_yaml.MAX_BYTES + 1))
    with pytest.raises(RegistryError, match="a registry file has at most"):
        registry.load(path)


def test_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"version: \xff\xfe")
    with pytest.raises(RegistryError, match="byte 9 is not UTF-8"):
        registry.load(path)


def test_missing_file_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be read .*--registry"):
        registry.load(tmp_path / "none.yaml")


EXTRA = """version: 1
families:
  - {paper: p, method: theirs, model: m, dataset: digits, evaluation: e, baseline: dense-a,
     rows: [{id: mine-a}]}
suites: {mine: [mine-a, dense-a]}
"""


def test_extra_file_may_refer_to_the_first(tmp_path: Path) -> None:
    first, _ = write(tmp_path, TOP + FAMILY)
    second, _ = write(tmp_path, EXTRA, "extra.yaml")
    loaded = registry.load(first, [second])
    assert [entry.id for entry in loaded.suite("mine")] == ["mine-a", "dense-a"]
    assert loaded.get("dense-a").suites == ("s", "mine")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("id: mine-a", "id: @@dense-a", "id 'dense-a' is already taken (first at"),
        ("{mine:", "{@@s:", "'s' is already in `suites` of another file"),
        ("families:", f"papers:\n  @@p: {PAPER}\nfamilies:", "already in `papers`"),
        ("families:", f"recipes:\n  @@r: {RECIPE}\nfamilies:", "already in `recipes`"),
    ],
)
def test_extra_file_may_not_redefine(old: str, new: str, text: str, tmp_path: Path) -> None:
    first, _ = write(tmp_path, TOP + FAMILY)
    second, place = write(tmp_path, changed(old, new, EXTRA), "extra.yaml")
    with pytest.raises(RegistryError) as caught:
        registry.load(first, [second])
    assert str(caught.value).startswith(place)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("0.30", 0.3),
        ("-3200", -3200),
        ("010", "010"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("true", True),
        ("~", None),
        ("nan", "nan"),
        (".5", 0.5),
        ("1.", 1.0),
        ("1_000", "1_000"),
    ],
)
def test_unquoted_scalars_have_no_surprises(text: str, value: object) -> None:
    found = plain_yaml.parse(f"x: {text}")
    assert found == {"x": value}
    assert isinstance(found, dict) and type(found["x"]) is type(value)


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=50)
def test_any_text_is_read_or_refused_with_a_position(text: str) -> None:
    try:
        plain_yaml.parse(text, "t")
    except RegistryError as error:
        assert str(error).startswith("t:")
