"""A network's name and its arguments as one text, there and back."""

from __future__ import annotations

from keyword import iskeyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RegistryError
from harness.models import ModelName, build, parse_model_name

values = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
keys = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(lambda k: not iskeyword(k))
bases = st.sampled_from(["resnet20", "timm/vit_tiny_patch16_224", "a/b c.py:Net", "pkg.nets:Net"])


@given(bases, st.dictionaries(keys, values, max_size=4))
def test_text_gives_back_base_and_typed_arguments(base: str, arguments: dict[str, object]) -> None:
    name = ModelName(base).with_arguments(arguments)
    again = parse_model_name(str(name))
    assert again == name
    assert [type(value) for value in again.arguments.values()] == [
        type(value) for value in arguments.values()
    ]


@pytest.mark.parametrize(
    "text",
    ["net(", "net(1)", "net(a=b)", "net(a=[1])", "net(a=1) + 1", "net(**{'a': 1})", "net(a=f())"],
)
def test_anything_but_literals_is_refused_and_nothing_is_executed(text: str) -> None:
    with pytest.raises(RegistryError, match="model 'net"):
        parse_model_name(text)


def test_arguments_in_the_name_reach_the_network() -> None:
    dropout = build("wrn28_10(dropout=0.5)").get_submodule("layer1.0.dropout")
    assert dropout.p == 0.5


def test_an_argument_of_the_wrong_type_is_one_line() -> None:
    with pytest.raises(RegistryError, match="cannot be built with depth='x'"):
        build("timm/vit_tiny_patch16_224(depth='x')")
