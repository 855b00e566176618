"""`bench` typed in this process, and whether it ended in an orderly way."""

from __future__ import annotations

import traceback
import unicodedata

from click.testing import CliRunner, Result

from cli import main

CODES = frozenset(range(6))  # the documented ones
LONGEST = 2000  # characters of a line on stderr
VERDICTS = frozenset({3, 4})  # of which stdout may say all there is to say


def typed(*arguments: object, **environment: str) -> Result:
    """`bench ARGUMENTS`, whatever comes of it."""
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(main, words, env=environment)


def disorder(result: Result) -> str:
    """What is wrong with the way a command ended; "" if it ended as every command must.

    A documented exit code, nothing unprintable, and one line that begins with `bench: ` on stderr,
    the last one, if something failed.
    """
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        where = traceback.extract_tb(result.exception.__traceback__)[-1]
        what = f"{type(result.exception).__name__}: {str(result.exception)[:200]}"
        return f"{what} at {where.filename}:{where.lineno}"
    return disorder_of(result.exit_code, result.stdout, result.stderr)


def disorder_of(code: int, stdout: str, stderr: str) -> str:
    """As `disorder`, of a command in a process of its own."""
    lines = stderr.splitlines()
    said = [line for line in lines if line.startswith("bench: ")]
    if code not in CODES:
        return f"exit code {code}: {stderr[-300:]!r}"
    odd = next((line for line in (*stdout.split("\n"), *stderr.split("\n")) if odd_in(line)), "")
    if odd:
        return f"unprintable output {odd[:200]!r}"
    if max(map(len, lines), default=0) > LONGEST:
        return f"a line of {len(max(lines, key=len))} characters: {max(lines, key=len)[:200]!r}"
    if "Traceback" in stderr:
        return f"a traceback: {stderr[-300:]!r}"
    explained = code == 0 or (code in VERDICTS and stdout.strip())
    if not explained and (not said or lines[-1] != said[-1]):
        return f"exit code {code} without a last line that says why: {stderr[-300:]!r}"
    return ""


def odd_in(line: str) -> bool:
    """Whether a terminal would obey something in `line` instead of showing it."""
    plain = line.isascii() and line.replace("\t", "").isprintable()
    return not plain and any(map(_is_obeyed, line.replace("\t", "")))


def _is_obeyed(sign: str) -> bool:
    turns = unicodedata.bidirectional(sign) in _TURNS
    return turns or unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")


_TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # the writing around
