"""registry.lock: what is written, what comes back, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.checkpoints import pins
from harness.checkpoints.pins import Pin
from harness.errors import HashMismatch, RegistryError

ONE, OTHER = "0123456789abcdef" * 4, "f" * 64


@pytest.fixture
def lock(home: Path) -> Path:
    home.mkdir(parents=True)
    return home / "registry.lock"


def test_nothing_is_pinned_before_the_first_download(lock: Path) -> None:
    assert pins.pinned("str-a-90") is None
    assert not lock.exists()


def test_pins_are_lines_in_the_order_of_their_ids(lock: Path) -> None:
    pins.pin("str-b", ONE, "https://host.example/b.pt")
    pins.pin("str-a", OTHER, "file:my file.pt")
    lines = lock.read_text().splitlines()
    assert lines[0].startswith("# sha256  id  source")
    assert lines[1:] == [
        f"{OTHER}  str-a  file:my file.pt",
        f"{ONE}  str-b  https://host.example/b.pt",
    ]
    assert pins.pinned("str-a") == Pin(OTHER, "file:my file.pt")
    assert pins.pinned("str-b") == Pin(ONE, "https://host.example/b.pt")
    assert pins.pinned("str-c") is None


def test_the_first_download_stays_the_pin(lock: Path) -> None:
    pins.pin("str-a", ONE, "first")
    pins.pin("str-a", ONE, "mirror")
    assert pins.pinned("str-a") == Pin(ONE, "first")
    before = lock.read_bytes()
    with pytest.raises(HashMismatch, match=f"pins sha256 {ONE}, got {OTHER}"):
        pins.pin("str-a", OTHER, "mirror")
    assert lock.read_bytes() == before


def test_comments_and_empty_lines_are_passed_over(lock: Path) -> None:
    lock.write_text(f"# a note\n\n  \n{ONE}  str-a  data:one two\n\n# the end\n")
    assert pins.pinned("str-a") == Pin(ONE, "data:one two")


@pytest.mark.parametrize(
    "line",
    [
        f"{ONE[1:]}  str-a  data:f",
        f"0{ONE}  str-a  data:f",
        f"{ONE.upper()}  str-a  data:f",
        f"{ONE} str-a  data:f",
        f"{ONE}  str-a",
        f"{ONE}  str-a   ",
        "x" * 200,
    ],
)
def test_a_damaged_line_is_named_by_its_number(lock: Path, line: str) -> None:
    lock.write_text(f"# a note\n\n{line}\n{OTHER}  str-b  data:f\n")
    with pytest.raises(RegistryError) as caught:
        pins.pinned("str-b")
    assert f"registry.lock, line 3: {line[:80]!r} is not" in str(caught.value)
    before = lock.read_bytes()
    with pytest.raises(RegistryError):
        pins.pin("str-c", ONE, "data:f")
    assert lock.read_bytes() == before


def test_a_changed_file_is_read_again(lock: Path) -> None:
    pins.pin("str-a", ONE, "one")
    assert pins.pinned("str-a") == Pin(ONE, "one")
    lock.write_text(f"{OTHER}  str-a  another\n")
    assert pins.pinned("str-a") == Pin(OTHER, "another")
    lock.unlink()
    assert pins.pinned("str-a") is None
