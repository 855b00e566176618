"""Small files that can be made again, with the hash of their content at the end.

A damaged one is found out before anything in it is believed, and made anew.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from harness.system.files import replace_file

_SEAL = re.compile(rb"\nsha256 ([0-9a-f]{64})\n\Z")
_LENGTH = len("\nsha256 \n") + 64


def write_sealed(target: Path, content: bytes) -> None:
    """Write `content` and its hash in the place of `target`."""
    digest = hashlib.sha256(content).hexdigest()
    replace_file(target, lambda file: file.write(content + f"\nsha256 {digest}\n".encode()))


def read_sealed(path: Path) -> bytes:
    """What `write_sealed` wrote. Raises ValueError if it is anything else, OSError without it."""
    data = path.read_bytes()
    content, seal = data[:-_LENGTH], _SEAL.match(data[-_LENGTH:])
    if seal is None or hashlib.sha256(content).hexdigest().encode() != seal[1]:
        raise ValueError("cut off, changed, or of an older version")
    return content
