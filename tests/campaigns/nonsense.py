"""Nonsense for texts, bytes and documents: what a fuzzer puts in the place of what is meant."""

from __future__ import annotations

import json
import random
import re
from typing import Any

TEXTS = (
    *(
        "",
        " ",
        "-",
        "--",
        "~",
        "null",
        "true",
        "nan",
        "-inf",
        "0",
        "-0",
        "1e309",
        "1e-400",
        "9" * 5000,
    ),
    *(
        "-1",
        "0.1.2",
        "0x10",
        "1_000",
        "\u00b2",
        "\u0663",
        "\udc80",
        "\x00",
        "\x1b[31m",
        "\r",
        "\u2028",
    ),
    *(
        "'",
        '"',
        "`",
        "\\",
        "#",
        ":",
        "{",
        "}",
        "[",
        "]",
        "{}",
        "[]",
        "&a",
        "*a",
        "!!python/object:os",
    ),
    *(
        "<script>",
        "=1+1",
        "$(id)",
        "%s%n",
        "../..",
        "/etc/passwd",
        "a" * 300,
        "\u202e",
        "\U0001f4a5",
    ),
    *(
        "key=",
        "=value",
        "a=b=c",
        "settings.sparsity=nan",
        "epochs=1e9",
        "folder:",
        "folder:/",
        "a:b",
    ),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.0, -0.0, 0.5, 1e308, 5e-324),
    *(float("nan"), float("inf"), float("-inf"), [], {}, [[]], {"": {}}, [None], "", *TEXTS[:40]),
)
_WORD = re.compile(r"[\w.\-]+")
_LONGEST = 60


def shortened(text: str) -> str:
    """An input as a failure names it."""
    return repr(text) if len(text) < 4 * _LONGEST else f"{text[: 4 * _LONGEST]!r}..."


def garbled_text(rng: random.Random, text: str) -> str:
    """`text` with one to three places changed: words, lines, signs."""
    for _ in range(rng.randint(1, 3)):
        text = rng.choice((_other_word, _other_line, _other_sign))(rng, text)
    return text


def _other_word(rng: random.Random, text: str) -> str:
    words = list(_WORD.finditer(text))
    if not words:
        return text
    place = rng.choice(words)
    chosen = rng.choice((rng.choice(TEXTS), rng.choice(words)[0], place[0] * 2))
    return text[: place.start()] + chosen + text[place.end() :]


def _other_line(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.randrange(5)
    if change == 0:
        del lines[first]
    elif change == 1:
        lines.insert(second, lines[first])
    elif change == 2:
        lines[first], lines[second] = lines[second], lines[first]
    elif change == 3:
        lines[first] = " " * rng.randint(0, 9) + lines[first].lstrip()
    else:
        lines = lines[: first + 1]
    return "\n".join(lines)


def _other_sign(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    sign = rng.choice(
        (*"{}[]:,'\"#&*!|>%@`\t\n \\-?", rng.choice(TEXTS), chr(rng.randrange(0x3000)))
    )
    return text[:at] + sign + text[at + rng.randint(0, 2) :]


def garbled_bytes(rng: random.Random, data: bytes) -> bytes:
    """`data` with one to eight bytes changed, or a piece of it gone, doubled or from elsewhere."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(changed) or 1)
        piece = rng.randint(1, 16)
        change = rng.randrange(5)
        if change < 2:
            changed[at : at + 1] = bytes([rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))])
        elif change == 2:
            del changed[at : at + piece]
        elif change == 3:
            changed[at:at] = rng.randbytes(piece)
        else:
            other = rng.randrange(len(changed) or 1)
            changed[at : at + piece] = changed[other : other + piece]
    return bytes(changed)


def garbled_document(rng: random.Random, document: Any) -> Any:
    """A copy of a JSON document with one to three values replaced, removed, added or moved."""
    copy = json.loads(json.dumps(document))
    for _ in range(rng.randint(1, 3)):
        holder, key = rng.choice(list(_places(copy)) or [(None, None)])
        change = rng.randrange(8)
        if holder is None:
            return rng.choice(VALUES)
        if change == 0:
            del holder[key]
        elif change == 1 and isinstance(holder, dict):
            holder[rng.choice(TEXTS)] = rng.choice(VALUES)
        elif change == 2:
            other, at = rng.choice(list(_places(copy)))
            holder[key] = json.loads(json.dumps(other[at]))
        else:
            holder[key] = rng.choice(VALUES)
    return copy


def _places(document: Any) -> Any:
    """(container, key) of every value in a document."""
    items = ()
    if isinstance(document, dict):
        items = tuple(document.items())
    elif isinstance(document, list):
        items = tuple(enumerate(document))
    for key, value in items:
        yield document, key
        yield from _places(value)
