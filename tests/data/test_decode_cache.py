"""The cache of decoded pictures: exact, resumable, shared by processes, never trusted blindly."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.data import decode_cache
from harness.data.decode_cache import DecodeCache, cached
from harness.data.decoders import CHUNK, Transform
from harness.data.find_and_load import PictureSet
from harness.errors import DataError
from tests.data.pictures import (
    CLASSES,
    KINDS,
    by_torchvision,
    picture_set,
    picture_tree,
    write_picture,
)

pytestmark = pytest.mark.usefixtures("home")

SMALL = Transform(20, 16)
COUNT = 5 * CHUNK + 4  # the last chunk is not a whole one

CHILD = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from harness.data import decode_cache
from harness.data.layouts import class_folders
from harness.data.decoders import Transform
decode_cache.SYNC_S = 0.0
stop_after = int(sys.argv[2])

class Follow:
    done = 0
    def stage(self, text, total=None): pass
    def note(self, text): print(text, flush=True)
    def advance(self, amount=1, **facts):
        self.done += 1
        if self.done > stop_after: os.kill(os.getpid(), signal.SIGKILL)

pictures = class_folders.scan(Path(sys.argv[1]), 4)
identity = SimpleNamespace(dataset="made-up", split="val")
source = SimpleNamespace(identity=identity, pictures=pictures)
decode_cache.cached(source, Transform(20, 16), "build", True, Follow())
"""


class Heard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done = 0

    def stage(self, text: str, total: int | None = None) -> None:
        self.done = 0

    def advance(self, amount: int = 1, **facts: float) -> None:
        self.done += amount

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    picture_tree(root, COUNT)
    return root


@pytest.fixture(scope="module")
def truth(tree: Path) -> np.ndarray:
    return by_torchvision(picture_set(tree).pictures.files, SMALL)


@pytest.fixture
def own(tree: Path, tmp_path: Path) -> PictureSet:
    """A copy of the pictures that a test may change."""
    shutil.copytree(tree, tmp_path / "own")
    return picture_set(tmp_path / "own")


def build(source: PictureSet, heard: Heard | None = None, policy: str = "build") -> np.ndarray:
    pixels = cached(source, SMALL, policy, True, heard or Heard())  # type: ignore[arg-type]
    assert pixels is not None
    return pixels


def content(source: PictureSet) -> str:
    found = DecodeCache(source, SMALL, Heard()).content_sha256
    assert found is not None
    return found


def pixel_file(home: Path) -> Path:
    (file,) = home.glob("cache/pictures/*/pixels.npy")
    return file


def child(tree: Path, stop_after: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tree), str(stop_after)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_pixels_are_torchvisions_and_are_decoded_once(
    tree: Path, truth: np.ndarray, home: Path
) -> None:
    first, second = Heard(), Heard()
    assert (build(picture_set(tree), first) == truth).all()
    size = f"{truth.nbytes / 1e6:.1f} MB"
    assert len(first.notes) == 1
    assert f"decoding {COUNT} pictures once" in first.notes[0] and size in first.notes[0]
    assert first.done == COUNT
    pixels = build(picture_set(tree), second)
    assert (pixels == truth).all() and second.notes == [] and second.done == 0
    assert np.load(pixel_file(home)).shape == truth.shape  # a plain file anybody can open


@pytest.mark.parametrize("transform", [Transform(20, 16, "bicubic"), Transform(None, 70)], ids=str)
def test_every_kind_of_picture_is_stored_as_torchvision_shows_it(
    tmp_path: Path, transform: Transform
) -> None:
    for number, (width, height, mode, name) in enumerate(KINDS):
        folder = tmp_path / "kinds" / f"class-{number % CLASSES}"
        write_picture(folder / name, width, height, mode)
    source = picture_set(tmp_path / "kinds")
    pixels = cached(source, transform, "build", True, Heard())
    assert pixels is not None
    assert (pixels == by_torchvision(source.pictures.files, transform)).all()


@pytest.mark.parametrize("chunks", [0, 4])
def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(
    tree: Path, truth: np.ndarray, home: Path, chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = child(tree, chunks)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert not list(home.glob("cache/pictures/*/facts.json"))
    heard = Heard()
    assert (build(picture_set(tree), heard) == truth).all()
    told = re.search(r"([\d,]+) are there already", heard.notes[0])
    assert (int(told[1]) if told else 0) == min(chunks * CHUNK, COUNT)
    resumed = content(picture_set(tree))
    monkeypatch.setenv("BENCH_HOME", str(home / "another"))
    build(picture_set(tree))
    assert content(picture_set(tree)) == resumed


def half_built(tree: Path, home: Path) -> tuple[Path, Path]:
    """A build that was killed after four chunks: its pixels and its list of chunks."""
    process = child(tree, 4)
    process.communicate()
    (folder,) = (path for path in home.glob("cache/pictures/*") if path.is_dir())
    return folder / "pixels.npy.part", folder / "chunks"


def test_a_torn_line_of_the_chunk_list_counts_as_not_done(
    tree: Path, truth: np.ndarray, home: Path
) -> None:
    _, chunks = half_built(tree, home)
    chunks.write_bytes(chunks.read_bytes()[:-9])
    heard = Heard()
    assert (build(picture_set(tree), heard) == truth).all()
    assert f"{3 * CHUNK} are there already" in heard.notes[0]


def test_chunks_that_were_harmed_meanwhile_are_decoded_again(
    tree: Path, truth: np.ndarray, home: Path
) -> None:
    part, _ = half_built(tree, home)
    flip(part, 128 + CHUNK * truth[0].nbytes + 5)
    heard = Heard()
    assert (build(picture_set(tree), heard) == truth).all()
    assert f"{CHUNK} are there already" in heard.notes[0]


def test_a_part_of_another_size_is_thrown_away(tree: Path, truth: np.ndarray, home: Path) -> None:
    part, _ = half_built(tree, home)
    os.truncate(part, 1000)
    assert (build(picture_set(tree)) == truth).all()


def test_two_processes_at_once_decode_once(tree: Path, truth: np.ndarray) -> None:
    processes = [child(tree, 10**6) for _ in range(2)]
    told = "".join(process.communicate()[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert told.count("decoding ") - told.count("is decoding ") == 1
    heard = Heard()
    assert (build(picture_set(tree), heard) == truth).all() and heard.notes == []


def test_who_comes_second_waits_and_says_for_whom(
    tree: Path, truth: np.ndarray, home: Path
) -> None:
    build(picture_set(tree))
    (facts,) = home.glob("cache/pictures/*/facts.json")
    lock = facts.parent.with_suffix(".lock")
    code = (
        "import sys, time; from pathlib import Path; from harness.system.locks import locked\n"
        "with locked(Path(sys.argv[1]), print):\n"
        "    print('held', flush=True); time.sleep(1.5)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    facts.unlink()
    heard, started = Heard(), time.monotonic()
    assert (build(picture_set(tree), heard) == truth).all()
    assert time.monotonic() - started > 0.5
    assert f"process {holder.pid} is decoding these pictures; waiting" in heard.notes[0]
    holder.communicate()


def flip(file: Path, offset: int) -> None:
    with open(file, "r+b") as opened:
        opened.seek(offset)
        byte = opened.read(1)[0]
        opened.seek(offset)
        opened.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("row", [0, COUNT - 1])
def test_a_flipped_bit_is_found_and_mended(
    tree: Path, truth: np.ndarray, home: Path, row: int
) -> None:
    build(picture_set(tree))
    before = content(picture_set(tree))
    flip(pixel_file(home), 128 + row * truth[0].nbytes)
    assert cached(picture_set(tree), SMALL, "read", True, Heard()) is None
    heard = Heard()
    assert (build(picture_set(tree), heard) == truth).all()
    assert any("decoded pictures are damaged" in note for note in heard.notes)
    assert content(picture_set(tree)) == before


def test_setting_the_time_back_does_not_hide_a_flipped_bit(
    tree: Path, truth: np.ndarray, home: Path
) -> None:
    build(picture_set(tree))
    file = pixel_file(home)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    flip(file, 4000)
    os.utime(file, ns=times)
    assert (build(picture_set(tree)) == truth).all()


def test_a_copied_home_is_checked_once_and_used(
    tree: Path, truth: np.ndarray, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(picture_set(tree))
    shutil.copytree(home, tmp_path / "moved")
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "moved"))
    heard = Heard()
    assert (build(picture_set(tree), heard) == truth).all()
    assert heard.notes == []


@pytest.mark.parametrize("harm", ["cut off", "gone", "a pickle", "facts cut off"])
def test_a_file_that_is_no_cache_is_made_anew(
    tree: Path, truth: np.ndarray, home: Path, harm: str
) -> None:
    build(picture_set(tree))
    file = pixel_file(home)
    if harm == "cut off":
        os.truncate(file, 5000)
    elif harm == "gone":
        file.unlink()
    elif harm == "a pickle":
        np.save(file, np.array([print], dtype=object), allow_pickle=True)
    else:
        facts = file.with_name("facts.json")
        facts.write_text(facts.read_text()[:40])
    assert (build(picture_set(tree)) == truth).all()


def test_another_list_of_files_is_another_cache(own: PictureSet, home: Path) -> None:
    build(own)
    own.pictures.files[3].unlink()
    fewer = picture_set(own.pictures.files[0].parents[1])
    assert cached(fewer, SMALL, "read", True, Heard()) is None
    assert len(build(fewer)) == COUNT - 1
    assert len(list(home.glob("cache/pictures/*/facts.json"))) == 2


def test_a_picture_changed_in_place_is_noticed(own: PictureSet) -> None:
    file = own.pictures.files[3]
    before = build(own)[3].copy()
    size = file.stat().st_size
    write_picture(file, 20, 25)
    with open(file, "ab") as opened:  # the same size, and still a picture
        opened.write(bytes(max(size - file.stat().st_size, 0)))
    os.truncate(file, size)
    same_list = picture_set(file.parents[1])
    assert same_list.pictures.fingerprint == own.pictures.fingerprint
    heard = Heard()
    after = build(same_list, heard)
    assert any("touched since they were decoded" in note for note in heard.notes)
    assert (after == by_torchvision(same_list.pictures.files, SMALL)).all()
    assert (after[3] != before).any()


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def usage(path: object) -> SimpleNamespace:
        return SimpleNamespace(free=decode_cache.RESERVE_BYTES + 1000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    yield


@pytest.mark.usefixtures("little_room")
def test_without_room_the_two_numbers_and_the_ways_out_are_told(tree: Path, home: Path) -> None:
    heard = Heard()
    assert cached(picture_set(tree), SMALL, "build", True, heard) is None
    with pytest.raises(DataError) as caught:
        cached(picture_set(tree), SMALL, "require", True, Heard())
    for told in (heard.notes[0], str(caught.value)):
        assert "need 0.1 MB on disk and 268.4 MB are free" in told
        assert "BENCH_HOME" in told and "--no-cache" in told
    assert not list(home.glob("cache/pictures/*/pixels*"))


def test_a_disk_that_fills_up_is_an_error_that_says_so(tree: Path, truth: np.ndarray) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (truth.nbytes // 2, before[1]))
    try:
        with pytest.raises(DataError, match=r"cannot be written .*--no-cache"):
            build(picture_set(tree))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (build(picture_set(tree)) == truth).all()


def test_an_unreadable_picture_is_named_and_the_others_are_kept(own: PictureSet) -> None:
    bad = own.pictures.files[3 * CHUNK]
    content = bad.read_bytes()
    bad.write_bytes(content[:70] + bytes(len(content) - 70))
    source = picture_set(bad.parents[1])
    with pytest.raises(DataError, match=f"{bad.name}: not a readable picture"):
        build(source)
    (chunks,) = decode_cache.cache_folder().glob("*/chunks")
    assert len(chunks.read_text().splitlines()) == 1 + 3


@pytest.mark.parametrize(("policy", "whole"), [("read", True), ("off", True), ("build", False)])
def test_nothing_is_made_unless_all_pictures_are_wanted(
    tree: Path, home: Path, policy: str, whole: bool
) -> None:
    assert cached(picture_set(tree), SMALL, policy, whole, Heard()) is None  # type: ignore[arg-type]
    assert not list(home.glob("cache/**/*.*"))


def test_the_facts_hold_no_path(tree: Path, home: Path) -> None:
    build(picture_set(tree))
    facts = json.loads(pixel_file(home).with_name("facts.json").read_text())
    assert str(tree) not in json.dumps(facts) and str(home) not in json.dumps(facts)
    assert facts["header"]["transform"] == {"crop": 16, "interpolation": "bilinear", "resize": 20}
