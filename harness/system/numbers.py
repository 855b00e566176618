"""The one place where text becomes a number: ASCII digits, finite, of a size to calculate with."""

from __future__ import annotations

import json
import math
import re

LARGEST = 2**63 - 1  # whole numbers are held in 64 bits by arrays, databases and other readers
_WHOLE = re.compile(r"[-+]?[0-9]+")
_REAL = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_DIGITS = 400  # as many as a finite number can have before its point
_SHOWN = 24  # letters of a text that is no number


def whole_number(text: str) -> int:
    """The whole number written as `text`. Raises ValueError for anything else, or beyond 64 bits.

    No spaces, underscores or digits of other scripts, as `int` takes them.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a whole number")
    if len(text) > _DIGITS or abs(value := int(text)) > LARGEST:
        raise ValueError(f"{_shown(text)} is beyond 64 bits")
    return value


def real_number(text: str) -> float:
    """The finite number written as `text`; -0 is 0. Raises ValueError for anything else."""
    if not _REAL.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a number")
    if len(text) > _DIGITS or not math.isfinite(value := float(text)):
        raise ValueError(f"{_shown(text)} is too large or has too many digits")
    return value + 0.0


def finite(value: int | float) -> int | float:
    """`value` if it can be calculated with. Raises ValueError if not finite or beyond 64 bits."""
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError("a whole number beyond 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return value


def read_json(data: bytes | str) -> object:
    """The JSON document in `data`. Raises ValueError for anything else, however it is broken.

    Other than `json.loads`, it refuses NaN and Infinity, nesting too deep to be followed, and
    halves of characters, which no file can hold.
    """
    half = b"\\ud" if isinstance(data, bytes) else "\\ud"
    try:
        found: object = json.loads(data, parse_constant=_refuse)
        if half in data.lower():  # type: ignore[operator]
            json.dumps(found, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
        return found
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not a finite number")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} letters)")
