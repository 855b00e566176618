"""Pins, locks, local sources and the state of the store."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from harness import paths
from harness.checkpoints import (
    Obtained,
    converted_files,
    hashed_copies,
    obtain,
    pins,
    status,
    statuses,
)
from harness.checkpoints.downloading import Policy
from harness.checkpoints.sources import parse_source
from harness.checkpoints.sources.spelling import SCHEMES
from harness.errors import CheckpointUnavailable, HashMismatch, RegistryError
from harness.registry.entries import SOURCE_FORMS, Entry
from harness.system.locks import locked
from tests.checkpoints.conftest import BIG, FAST, SMALL, files_below, make_entry, saved, tiny_state
from tests.support.server import Server, reply

ROOT = Path(__file__).parent.parent.parent
PATIENT = Policy(attempts=1, read_timeout_s=60.0)  # the server waits for a second process


@pytest.fixture
def local(home: Path, tmp_path: Path) -> Entry:
    """An entry whose file lies below the data root."""
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "sub" / "a.pth").write_bytes(SMALL)
    return make_entry("data:sub/a.pth")


def test_data_source_is_read_in_place(local: Entry, home: Path, tmp_path: Path) -> None:
    got = obtain(local)
    assert got.source == "data:sub/a.pth"
    assert str(tmp_path) not in str(got.provenance())
    assert (tmp_path / "data/sub/a.pth").read_bytes() == SMALL
    assert [f for f in files_below(home) if not f.endswith((".safetensors", ".json"))] == [
        "registry.lock"
    ]


def test_data_root_option_wins(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pth").write_bytes(SMALL)
    entry = make_entry("data:a.pth")
    assert status(entry) == "none"
    obtained = obtain(entry, data_root=tmp_path)
    assert obtained.size_bytes == len(SMALL)
    converted_files.discard(obtained)
    monkeypatch.setenv("BENCH_DATA_ROOT", str(tmp_path))
    assert status(entry) == "local"


def test_many_at_once_have_the_status_that_each_has_alone(home: Path, tmp_path: Path) -> None:
    hand = tmp_path / "a.pth"
    hand.write_bytes(SMALL)
    kept, link, none = (
        replace(make_entry(source), id=f"e-{i}")
        for i, source in enumerate(("data:a.pth", "https://example.org/a.pth", "data:b.pth"))
    )
    assert statuses([kept]) == {"e-0": "none"}  # there is no store yet
    obtain(kept, from_file=hand)
    assert statuses([kept, link, none]) == {"e-0": "by hand", "e-1": "link", "e-2": "none"}
    assert [status(entry) for entry in (kept, link, none)] == ["by hand", "link", "none"]


@pytest.mark.parametrize(
    "source",
    ["data:../a", "data:x/../../a", "data:/etc/passwd", "data:", "shipped:../a", "data:C:/a"],
)
def test_local_sources_cannot_leave_their_root(tmp_path: Path, source: str) -> None:
    with pytest.raises(RegistryError, match="leaves the folder"):
        parse_source(source).path(tmp_path)  # type: ignore[attr-defined]


def test_every_form_that_the_registry_accepts_has_one_scheme() -> None:
    for form in SOURCE_FORMS:
        assert len([s for s in SCHEMES if form.startswith(s.prefixes)]) == 1, form
    with pytest.raises(RegistryError, match="'ftp://a/b' has no known scheme; known: https:"):
        parse_source("ftp://a/b")


def test_shipped_source_is_found_beside_the_code(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "shipped_checkpoints", lambda: tmp_path)
    entry = make_entry("shipped:tiny.safetensors", format="safetensors")
    assert status(entry) == "none"
    with pytest.raises(CheckpointUnavailable, match="shipped tiny.safetensors: no such file"):
        obtain(entry)
    (tmp_path / "tiny.safetensors").write_bytes(save(tiny_state()))
    assert status(entry) == "shipped"
    assert obtain(entry).tensors().keys() == tiny_state().keys()
    assert status(entry) == "stored"


def test_status_needs_no_network(local: Entry, home: Path) -> None:
    link = make_entry("https://example.invalid/f")
    assert (status(local), status(link)) == ("local", "link")
    obtain(local)
    assert status(local) == "stored"


def test_entry_without_checkpoint_says_how_to_train(home: Path) -> None:
    bare = Entry(
        id="x-1",
        paper="p",
        method="dense",
        model="m",
        dataset="cifar10",
        evaluation="e",
        recipe="r",
    )
    assert status(bare) == "none"
    with pytest.raises(CheckpointUnavailable, match="bench reproduce x-1 --mode train"):
        obtain(bare)


def test_a_file_given_by_hand_is_labelled_kept_and_never_pinned(
    home: Path, tmp_path: Path, server: Server
) -> None:
    (tmp_path / "mine.pth").write_bytes(SMALL)
    entry = make_entry(server.url("/f", reply(BIG)))
    got = obtain(entry, from_file=tmp_path / "mine.pth")
    assert (got.source, got.notes) == ("file:mine.pth", ["given by hand, unproven"])
    assert str(tmp_path) not in str(got.provenance())
    assert not (home / "registry.lock").exists()
    assert obtain(entry).sha256 == got.sha256  # it is what there is, and no host is asked
    assert server.seen == []
    (tmp_path / "mine.pth").write_bytes(saved(tiny_state(5)))  # another one may take its place
    better = obtain(entry, from_file=tmp_path / "mine.pth")
    assert obtain(entry).sha256 == better.sha256 != got.sha256


def test_the_published_bytes_replace_what_was_given_by_hand(
    home: Path, tmp_path: Path, server: Server
) -> None:
    sha256 = hashlib.sha256(SMALL).hexdigest()
    (tmp_path / "mine.pth").write_bytes(SMALL)
    url = server.url("/f", reply(SMALL))
    got = obtain(make_entry(url, sha256=sha256), from_file=tmp_path / "mine.pth")
    assert got.notes == ["given by hand, the file of the registry"]
    (tmp_path / "mine.pth").unlink()
    got.path.unlink()
    again = obtain(make_entry(url), policy=FAST)
    assert (again.source, again.notes) == (url, [])
    assert pins.pinned("dense-tiny") == pins.Pin(sha256, url)


def test_a_file_exchanged_after_its_copy_changes_nothing(
    local: Entry, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, copy_into = tmp_path / "data/sub/a.pth", hashed_copies.copy_into

    def exchanged(folder: Path, path: Path) -> hashed_copies.Copy:
        made = copy_into(folder, path)
        original.write_bytes(saved(tiny_state(9)))
        return made

    monkeypatch.setattr("harness.checkpoints.sources.local.copy_into", exchanged)
    got = obtain(local)
    assert got.sha256 == hashlib.sha256(SMALL).hexdigest()
    assert got.tensors()["fc.weight"].shape == (4, 4)


def test_a_pin_comes_last_and_alone_is_made_up_for(
    local: Entry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(pins, "pin", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            obtain(local)
    assert pins.pinned("dense-tiny") is None
    got = obtain(local)
    assert pins.pinned("dense-tiny") == pins.Pin(got.sha256, "data:sub/a.pth")


def test_a_converted_file_that_reads_back_otherwise_is_not_kept(
    local: Entry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flipped(tensors: dict[str, torch.Tensor], path: Path) -> None:
        save_file({**tensors, "fc.bias": tensors["fc.bias"] + 1}, path)

    monkeypatch.setattr("safetensors.torch.save_file", flipped)
    with pytest.raises(CheckpointUnavailable, match="does not read back"):
        obtain(local)
    assert files_below(home) == []


class Stranger:
    """A class that no allow-list knows."""


BAD_MIRRORS = {
    "html": b"<!doctype html><p>hello",
    "cut off": BIG[: len(BIG) // 2],
    "of another network": saved({"conv.weight": torch.ones(3)}),
    "infinite": saved({**tiny_state(), "fc.bias": torch.full((4,), float("inf"))}),
    "code": saved({"state_dict": tiny_state(), "x": Stranger()}),
}


@pytest.mark.parametrize("kind", BAD_MIRRORS)
def test_a_bad_mirror_leaves_the_next_one_a_chance(
    home: Path, server: Server, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "bad").write_bytes(BAD_MIRRORS[kind])
    bad = server.url("/bad", reply(BAD_MIRRORS[kind]))
    good = server.url("/good", reply(SMALL))
    network = torch.nn.ModuleDict({"fc": torch.nn.Linear(4, 4)})
    got = obtain(make_entry("data:bad", bad, good), policy=FAST, model=lambda: network)
    assert got.source == good
    assert pins.pinned("dense-tiny") == pins.Pin(hashlib.sha256(SMALL).hexdigest(), good)
    assert [f for f in files_below(home) if "part" in f or "copy" in f or ".new" in f] == []


def test_user_file_with_other_bytes_than_pinned_is_refused(local: Entry, tmp_path: Path) -> None:
    obtain(local)
    (tmp_path / "other.pth").write_bytes(BIG)
    with pytest.raises(HashMismatch) as caught:
        obtain(local, from_file=tmp_path / "other.pth")
    for data in (SMALL, BIG):
        assert hashlib.sha256(data).hexdigest() in str(caught.value)


def test_user_file_with_the_pinned_bytes_changes_nothing(local: Entry, tmp_path: Path) -> None:
    first = obtain(local)
    (tmp_path / "same.pth").write_bytes(SMALL)
    again = obtain(local, from_file=tmp_path / "same.pth")
    assert (again.reused, again.source) == (True, first.source)


def test_missing_user_file_is_named(home: Path) -> None:
    with pytest.raises(CheckpointUnavailable, match="there is no file 'nowhere.pth'"):
        obtain(make_entry("data:f"), from_file=Path("nowhere.pth"))
    assert files_below(home) == []


def test_hash_of_the_registry_needs_no_pin(local: Entry, home: Path) -> None:
    entry = make_entry("data:sub/a.pth", sha256=hashlib.sha256(SMALL).hexdigest())
    assert not obtain(entry).reused
    assert obtain(entry).reused
    assert not (home / "registry.lock").exists()


def damage(got: Obtained) -> None:
    got.path.write_bytes(got.path.read_bytes()[:-1] + b"\x07")


def lose_record(got: Obtained) -> None:
    got.path.with_suffix(".json").write_text("{")


def lose_file(got: Obtained) -> None:
    got.path.unlink()


@pytest.mark.parametrize("harm", [damage, lose_record, lose_file])
def test_damaged_store_is_made_anew(local: Entry, harm: object) -> None:
    first = obtain(local)
    assert callable(harm)
    harm(first)
    again = obtain(local)
    assert not again.reused
    assert again.converted_sha256 == first.converted_sha256
    assert obtain(local).reused


def test_newer_converter_makes_stored_files_anew(
    local: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    obtain(local)
    monkeypatch.setattr(converted_files, "CONVERTER_VERSION", converted_files.CONVERTER_VERSION + 1)
    assert status(local) == "local"


def test_pins_are_sorted_and_read_back(home: Path) -> None:
    for name in ("b", "a"):
        pins.pin(name, name * 64, f"file:{name} file.pth")
    lines = (home / "registry.lock").read_text().splitlines()
    assert lines[1:] == [f"{n * 64}  {n}  file:{n} file.pth" for n in "ab"]
    assert pins.pinned("a") == pins.Pin("a" * 64, "file:a file.pth")
    assert pins.pinned("c") is None
    assert files_below(home) == ["registry.lock"]


def test_pin_is_never_overwritten(home: Path) -> None:
    pins.pin("a", "a" * 64, "x")
    with pytest.raises(HashMismatch, match="a" * 64):
        pins.pin("a", "b" * 64, "y")
    assert pins.pinned("a") == pins.Pin("a" * 64, "x")


def test_damaged_lock_file_names_its_line(home: Path) -> None:
    home.mkdir()
    (home / "registry.lock").write_text("# header\nnonsense\n")
    with pytest.raises(RegistryError, match=r"registry\.lock, line 2: 'nonsense'"):
        pins.pinned("a")


def test_held_lock_names_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    with locked(lock):
        with pytest.raises(CheckpointUnavailable, match=rf"pid {os.getpid()}.*x\.lock"):
            with locked(lock, wait_s=0.0):
                pytest.fail("two holders at once")
    assert not lock.exists()


HOLD = """
import sys, time
from pathlib import Path
from harness.system.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CheckpointUnavailable, match=f"pid {holder.pid}"):
            with locked(lock, wait_s=0.0):
                pytest.fail("two holders at once")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert lock.exists()  # left over, and yet free
    with locked(lock, wait_s=0.0):
        pass
    assert not lock.exists()


OBTAIN = """
import sys
from harness.checkpoints import obtain
from harness.registry.entries import Checkpoint, Entry
entry = Entry(id="dense-tiny", paper="p", method="dense", model="m", dataset="cifar10",
              evaluation="e", checkpoint=Checkpoint((sys.argv[1],), "plain"))
print("asking", flush=True)
print(obtain(entry).reused)
"""


def test_two_processes_download_once(home: Path, server: Server) -> None:
    both = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        both.wait(timeout=60)
        reply(SMALL)(handler)

    url = server.url("/f", slow, reply(SMALL))
    with ThreadPoolExecutor(1) as pool:
        ours = pool.submit(obtain, make_entry(url), policy=PATIENT)
        while not server.seen:
            time.sleep(0.01)
        command = [sys.executable, "-c", OBTAIN, url]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "asking\n"
            time.sleep(0.2)  # now it waits for the lock, or downloads if there is none
            both.set()
            assert other.communicate(timeout=60)[0] == "True\n"
        assert not ours.result().reused
    assert len(server.seen) == 1


def test_importing_the_store_stays_light() -> None:
    code = (
        "import sys, harness.checkpoints; "
        "print([m for m in ('torch', 'numpy', 'requests', 'gdown', 'h5py') if m in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


def test_same_content_in_both_containers_converts_alike(home: Path, tmp_path: Path) -> None:
    digests = set()
    for number, legacy in enumerate((True, False)):
        (tmp_path / f"{number}.pth").write_bytes(saved(tiny_state(), legacy))
        (home / "registry.lock").unlink(missing_ok=True)
        got = obtain(make_entry("data:f"), from_file=tmp_path / f"{number}.pth", policy=FAST)
        digests.add(got.converted_sha256)
    assert len(digests) == 1


@pytest.mark.parametrize("nonsense", [b"", b"[]", b"{", b"\xff\xfe\0", b'{"sha256": 3}', None])
def test_a_record_that_is_nonsense_counts_as_absent(
    local: Entry, home: Path, nonsense: bytes | None
) -> None:
    record = obtain(local).path.with_suffix(".json")
    record.unlink()
    if nonsense is None:
        record.mkdir()
    else:
        record.write_bytes(nonsense)
    assert status(local) != "stored"


def test_a_damaged_lock_file_says_which_line(local: Entry, home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "registry.lock").write_bytes(b"# head\n\xff\xfe nonsense\n")
    with pytest.raises(RegistryError, match=r"registry\.lock, line 2: .*xff.* is not `sha256  id"):
        obtain(local)


def test_what_a_killed_process_left_is_gone_after_the_next_one(local: Entry, home: Path) -> None:
    folder = home / "checkpoints" / "dense-tiny"
    folder.mkdir(parents=True)
    (folder / ".0123456789abcdef.safetensors.77.part").write_bytes(b"half")
    obtain(local)
    assert len(files_below(folder)) == 2
