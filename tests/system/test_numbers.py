"""Text that becomes a number is finite and sane, or refused."""

import json
import math
from decimal import Decimal

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cli import main
from harness.errors import RegistryError, SettingsError
from harness.registry import assigned, from_mapping, make_method, plain_yaml
from harness.registry.fields import Fault
from harness.registry.recipes import Optimizer
from harness.system import finite, read_json, real_number, whole_number

HUGE = "9" * 5000
NO_WHOLE = (
    "",
    " 1",
    "1 ",
    "1_000",
    "²",
    "٣",
    "1.0",
    "1e3",
    "--1",
    "0x1",
    "nan",
    "true",
    "+",
    "1\n",
)
NO_REAL = ("", " 1", "1_0.0", "²", "٣.5", "nan", "inf", "-Infinity", "1e", ".", "0x1p3", "1.0\n")
TOO_LARGE = (HUGE, f"-{HUGE}", "1e309", "1e99999999999", f"1e{HUGE}", f"0.{HUGE}")


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_every_whole_number_of_64_bits_is_read(number):
    assert whole_number(str(number)) == number
    assert finite(number) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_is_read_as_it_was_written(number):
    assert real_number(repr(number)) == number
    assert math.copysign(1, real_number(repr(number))) == (
        1 if number == 0 else math.copysign(1, number)
    )


@given(st.text(max_size=8) | st.from_regex(r"[-+0-9.eE_ ²٣]{0,12}", fullmatch=True))
def test_whatever_is_read_is_the_number_that_stands_there(text):
    for read in (whole_number, real_number):
        try:
            number = read(text)
        except ValueError:
            continue
        assert text.isascii() and "_" not in text and text == text.strip()
        assert number == float(Decimal(text)) if read is real_number else number == Decimal(text)


@pytest.mark.parametrize("text", [*NO_WHOLE, *TOO_LARGE])
def test_no_whole_number(text):
    with pytest.raises(ValueError) as refused:
        whole_number(text)
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize("text", [*NO_REAL, *TOO_LARGE])
def test_no_real_number(text):
    with pytest.raises(ValueError) as refused:
        real_number(text)
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize("value", [2**63, -(2**63), 10**4000, math.inf, -math.inf, math.nan])
def test_a_number_that_no_reader_can_hold_is_refused_wherever_it_stands(value):
    with pytest.raises(ValueError):
        finite(value)
    with pytest.raises(Fault, match="lr"):
        from_mapping(Optimizer, {"name": "sgd", "lr": value})


@pytest.mark.parametrize(
    "text",
    ["NaN", "[Infinity]", '{"a": -Infinity}', "[" * 100_000, '{"a": "\\ud800"}', HUGE, "", "\xff"],
)
def test_json_that_is_none_is_a_value_error(text):
    with pytest.raises(ValueError):
        read_json(text.encode("latin-1"))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_json_is_read_as_json_reads_it(value):
    assert read_json(json.dumps(value)) == value


@pytest.mark.parametrize("text", [t for t in TOO_LARGE if not t.startswith("0.")])
def test_yaml_says_where_the_number_stands(text):
    with pytest.raises(RegistryError, match=r"file:1:4: .*too|file:1:4: .*beyond"):
        plain_yaml.parse(f"a: {text}", "file")
    with pytest.raises(Exception, match="--set"):
        assigned([f"optimizer.lr={text}"])


TRAIN = ["train", "--method", "str", "--model", "convnet_tiny", "--dataset", "digits", "--dry-run"]
BAD = ("nan", "inf", "-inf", "1e999", HUGE, "²", "٣", "1_0", "true", "0x10", "1e9999999")


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(
    "arguments",
    [
        [*TRAIN, "--set", "epochs=VALUE"],
        [*TRAIN, "--set", "optimizer.lr=VALUE"],
        [*TRAIN, "--set", "batch=VALUE"],
        [*TRAIN, "--seeds", "VALUE"],
        ["prune", "--method", "magnitude", "--target", "VALUE", *TRAIN[3:]],
        ["prune", "--method", "magnitude", "--target", "0.5", "--rounds", "VALUE", *TRAIN[3:]],
        ["prune", "--method", "magnitude", "--target", "0.5", "--finetune", "VALUEep", *TRAIN[3:]],
        ["table", "--limit", "VALUE"],
        ["latency", "dense-convnet-tiny-digits", "--batch", "VALUE"],
        ["ui", "--port", "VALUE"],
        ["compress", "dense-convnet-tiny-digits", "--share", "--bits", "conv1=VALUE"],
        ["estimate", "ftwt", "dense-convnet-tiny-digits", "--values", "VALUE"],
    ],
    ids=lambda arguments: " ".join(arguments[:1] + [a for a in arguments if "VALUE" in a]),
)
def test_no_nonsense_gets_past_an_option(home, arguments, value):
    done = CliRunner().invoke(main, [part.replace("VALUE", value) for part in arguments])
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("bench: ") and len(line) < 600
    assert not home.exists() or not list(home.rglob("*.json"))


@pytest.mark.parametrize("value", BAD)
def test_a_setting_is_a_number_or_refused(value):
    with pytest.raises(SettingsError, match="st_decay"):
        make_method("str", assigned([f"st_decay={value}"]))
    with pytest.raises(SettingsError, match="st_decay"):
        make_method("str", {"st_decay": float("nan")})


@pytest.mark.parametrize("value", ["²", "9" * 30, "-1", "nan", ""])
def test_a_terminal_of_nonsense_size_is_none(monkeypatch, home, value):
    monkeypatch.setenv("COLUMNS", value)
    monkeypatch.setenv("LINES", value)
    done = CliRunner().invoke(main, ["show", "dense-convnet-tiny-digits"])
    assert done.exit_code == 0, done.output
