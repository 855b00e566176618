"""Nothing of a file, a server or a registry reaches the terminal as anything but visible text."""

import json
import logging
import sys
import unicodedata
import warnings

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from cli import main
from harness.commands import visible_text
from harness.commands.output import Bars, Lines, console, print_json, print_rich
from harness.registry import load as load_registry

HOSTILE = "a\x1b[31m\x1b]0;title\x07b\rc\x9b2Jd\u202ee\ud800f[/red]:bug:\x7f"
# Whatever a terminal may obey, by what Unicode says of it and not by a list of ours.
OBEYED = ("Cc", "Cs", "Zl", "Zp")
TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def harmful(text):
    return [
        character
        for character in text
        if character not in "\n\t"
        and (
            unicodedata.category(character) in OBEYED
            or unicodedata.bidirectional(character) in TURNS
        )
    ]


@given(st.text(st.characters(), max_size=60))
def test_any_text_becomes_visible_and_nothing_else_changes(text):
    shown = visible_text.visible(text)
    assert not harmful(shown)
    assert not harmful(visible_text.in_one_line(text))
    assert not set("\n\t") & set(visible_text.in_one_line(text))
    assert [c for c in text if not harmful(c) and c not in shown] == []
    if not harmful(text) and not any(unicodedata.category(c) == "Cf" for c in text):
        assert shown == text


def test_every_code_point_that_a_terminal_obeys_is_escaped():
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert not harmful(visible_text.visible(everything))


@given(st.dictionaries(st.text(st.characters()), st.text(st.characters())))
def test_json_stays_the_same_document(document):
    shown = visible_text.visible(json.dumps(document, indent=1, ensure_ascii=False))
    assert json.loads(shown) == document
    assert not harmful(shown)


def test_json_tables_and_progress_are_escaped(capsys):
    print_json({"name": HOSTILE})
    table = Table(HOSTILE)
    table.add_row(HOSTILE, style="bold")
    print_rich(table)
    print_rich(Text(HOSTILE, style="red"))
    Lines().note(HOSTILE)
    Lines().stage(HOSTILE)
    visible_text.say_problem(HOSTILE)
    out, err = capsys.readouterr()
    assert not harmful(out + err)
    assert "[/red]:bug:" in out and "[/red]:bug:" in err


def test_bars_show_a_hostile_name_as_text(capsys):
    from rich.progress import Progress, TextColumn

    column = TextColumn("{task.description}", markup=False)
    screen = console(stderr=True)
    screen.width = 500
    with Progress(column, console=screen, auto_refresh=False) as rich:
        bars = Bars(rich)
        bars.stage(f"{HOSTILE}\nsecond")
        bars.note(f"{HOSTILE}\nsecond")
    err = capsys.readouterr().err
    assert not harmful(err)
    assert err.count("[/red]:bug:\\u007f\\nsecond") == 2


def test_what_libraries_say_is_one_visible_line(capsys, monkeypatch):
    for module, name in ((warnings, "showwarning"), (logging, "lastResort"), (sys, "excepthook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    visible_text.speak_for_libraries()
    warnings.showwarning(UserWarning(HOSTILE + "\n"), UserWarning, "file", 1)
    logging.lastResort.handle(
        logging.makeLogRecord({"msg": "bad header %s", "args": (HOSTILE,), "levelno": 40})
    )
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        sys.excepthook(*sys.exc_info())
    lines = capsys.readouterr().err.splitlines()
    assert not harmful("".join(lines))
    assert lines[0].startswith("UserWarning: a\\u001b[31m") and lines[0].endswith("\\n")
    assert lines[1].startswith("bad header a\\u001b[31m")
    assert lines[-1].startswith("ValueError: a\\u001b[31m")


INJECTION = """\
papers:
  hostile: {title: %(text)s, venue: %(text)s, url: %(text)s, code: %(text)s, license: %(text)s,
    flops_convention: macs}
families:
  - paper: hostile
    method: dense
    model: convnet_tiny
    dataset: digits
    evaluation: digits
    rows:
      - id: hostile-one
        note: %(text)s
        published: {top1_pct: {text: "90.00", source: %(text)s, note: %(text)s, suspect: true}}
"""


@pytest.mark.parametrize("command", (["list"], ["show", "hostile-one"], ["registry", "check"]))
@pytest.mark.parametrize("form", ([], ["--json"]))
def test_a_hostile_registry_is_shown_as_text(home, tmp_path, command, form):
    entry = load_registry().get("dense-convnet-tiny-digits")
    quoted = json.dumps(HOSTILE.replace("\ud800", ""))
    file = tmp_path / "registry.yaml"
    text = INJECTION.replace("evaluation: digits", f"evaluation: {entry.evaluation}")
    file.write_text("version: 1\n" + text % {"text": quoted})
    done = CliRunner().invoke(main, [*command, "--registry", str(file), *form])
    assert done.exit_code == 0, done.output
    assert not harmful(done.output)
    if command[0] == "show":
        assert "\\u001b" in done.output


@pytest.mark.parametrize("verb", (["shrink", "--out", "x.st"], ["compare", "a"]))
def test_a_name_that_no_file_can_have_is_refused_in_one_line(home, verb):
    done = CliRunner().invoke(main, [verb[0], "a" * 300, *verb[1:]])
    assert done.exit_code in (2, 4), done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("bench: ") and len(line) < 1000
