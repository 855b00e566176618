"""How a network is named: `resnet20`, `timm/resnet50`, `my_nets.py:Net(width=32)`.

The part before the bracket says which builder, the part inside what it is called with. One text,
so that it can stand in a result, in a table and in a run's name, and be built again from there.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import RegistryError

ARGUMENT_TYPES = (bool, int, float, str)


@dataclass(frozen=True, slots=True)
class ModelName:
    """base: of a builder. arguments: of the call, each a bool, int, float or str."""

    base: str
    arguments: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.arguments:
            return self.base
        given = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{self.base}({given})"

    def with_arguments(self, more: Mapping[str, object]) -> ModelName:
        """The same builder called with `more`. Raises RegistryError for a value of another type."""
        for key, value in more.items():
            if not key.isidentifier() or type(value) not in ARGUMENT_TYPES:
                raise RegistryError(
                    f"model {self.base!r}: argument {key}={value!r} is a {type(value).__name__}; "
                    "a number, true, false or a text is expected: --model-args width=32"
                )
        return ModelName(self.base, {**self.arguments, **more})


def parse_model_name(text: str) -> ModelName:
    """Inverse of str(ModelName). Values are literals: nothing in the text is executed.

    Raises RegistryError for brackets that hold anything else.
    """
    base, bracket, rest = text.partition("(")
    if not bracket:
        return ModelName(text)
    try:
        call = ast.parse(f"call({rest}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not base:
            raise ValueError("only name=value pairs stand in the brackets")
        arguments = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RegistryError(
            f"model {text!r}: what stands in the brackets is not name=value, ...: {reason}. "
            f"Try: --model {base} --model-args name=value"
        ) from error
    return ModelName(base).with_arguments(arguments)
