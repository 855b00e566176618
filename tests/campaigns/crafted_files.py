"""Files made to break the reader, each handed to `bench pull ID --from FILE`."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import pickletools
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load_file, save

from tests.campaigns.campaign import Trial, campaign
from tests.checkpoints import hostile
from tests.checkpoints.conftest import files_below, saved
from tests.checkpoints.test_hostile_files import (
    KERAS,
    MOST_BYTES,
    MOST_SECONDS,
    pulled_file,
    registry,
    state,
)
from tests.support.command_line import disorder

Files = Iterator[tuple[str, str, bytes]]  # format of the entry, what it is, the file

# Bytes of a zip archive that say something: (signature, size of the fixed part).
RECORDS = ((b"PK\x03\x04", 30), (b"PK\x01\x02", 46), (b"PK\x05\x06", 22))
VALUES = (0, 1, 0x7FFF, 0xFFFF)
CALLED = (
    *("os system", "posix system", "builtins eval", "builtins exec", "builtins __import__"),
    *("builtins getattr", "subprocess Popen", "subprocess call", "shutil rmtree", "runpy run_path"),
    *("importlib import_module", "pickle loads", "marshal loads", "types FunctionType"),
    *("torch load", "torch.hub load", "torch.storage _load_from_bytes", "torch.jit load"),
    *("numpy load", "numpy.core.multiarray scalar", "webbrowser open", "socket create_connection"),
    *("__builtin__ eval", "_io open", "pathlib Path", "operator attrgetter", "harness.paths home"),
)
CLAIMS = (-1, 0, 1, 3, 2**31, 2**40, 2**62, 2**63, 10**30, True, None, "4", 1.5, [], {}, "\x1b[31m")


@campaign(count=1000, sample=8)
def crafted_files(trial: Trial) -> Iterator[str]:
    """Files made by code, handed to `bench pull`: refused in one line with exit 4 and nothing kept,
    or read to the very weights of the good file; nothing is executed; 20 s and 2 GB at most.
    """
    good = state()
    files = {(format_id, data): what for format_id, what, data in every_file(good)}
    chosen = sorted(files, key=files.__getitem__)
    trial.rng.shuffle(chosen)
    for format_id, data in chosen[: trial.count]:
        what = files[format_id, data]
        yield _tried(trial.folder, format_id, what, data, good)


def _tried(folder: Path, format_id: str, what: str, data: bytes, good: hostile.State) -> str:
    folder = folder / hashlib.sha256(data + format_id.encode()).hexdigest()[:16]
    folder.mkdir()
    home = folder / "home"
    entries = registry(folder, format_id, *((KERAS,) if format_id == "keras-h5" else ()))
    before = most_bytes()  # of a process that has done other things already
    begun = time.process_time()
    result = pulled_file(folder, entries, data, BENCH_HOME=str(home))
    seconds, peak = time.process_time() - begun, most_bytes()
    told = disorder(result) or _left(home, result.exit_code, good)
    if result.exit_code and len(result.stderr.splitlines()) != 1:
        told = told or f"more than one line: {result.stderr!r}"
    if EXECUTED.exists():
        EXECUTED.unlink()
        told = "something in the file was executed"
    if seconds > MOST_SECONDS or peak > max(MOST_BYTES, before):
        told = told or f"{seconds:.0f} s, {peak / 1e9:.1f} GB at most so far"
    return told and f"{format_id}, {what}: {told}"


def _left(home: Path, code: int, good: hostile.State) -> str:
    """What is wrong with what lies in the home afterwards."""
    left = files_below(home) if home.exists() else []
    if code:
        return f"left behind: {left}" if left else ""
    [weights] = home.glob("checkpoints/*/*.safetensors")
    read = load_file(weights)
    same = read.keys() == good.keys() and all(read[name].equal(good[name]) for name in good)
    return "" if same else "accepted with other weights than those of the good file"


def most_bytes() -> int:
    """The most memory that this process ever had; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


EXECUTED = Path(f"/tmp/campaign-executed-{os.getpid()}")


def every_file(good: hostile.State) -> Files:
    """All of them; the numbers in the comments are counts."""
    for what, (format_id, data) in hostile.refused(good).items():
        yield format_id, what, data
    try:
        for what, data in hostile.refused_h5().items():
            yield "keras-h5", what, data
    except ImportError:  # the extra `keras` is not installed
        pass
    torch_file, legacy = saved(good), saved(good, legacy=True)
    arrays = hostile.npz(hostile.npy_header("(1,)"), bytes(4))
    for kind, data in (("plain", torch_file), ("keras-npz", arrays)):
        yield from _odd_zip_records(kind, data)
    for kind, data in (("plain", torch_file), ("plain", legacy), ("plain", save(good))):
        yield from _cut_off(kind, data)
    yield from _odd_pickles(good)
    yield from _odd_safetensors()
    yield from _odd_arrays()


def _odd_zip_records(format_id: str, data: bytes) -> Files:
    """Every 16-bit field of the first header, of its directory entry and of the end."""
    for signature, size in RECORDS:
        at = data.index(signature)
        for field in range(4, size, 2):
            for value in VALUES:
                changed = bytearray(data)
                struct.pack_into("<H", changed, at + field, value)
                yield format_id, f"zip {signature[2:]!r} +{field} = {value}", bytes(changed)


def _cut_off(format_id: str, data: bytes) -> Files:
    for part in range(1, 24):
        yield format_id, f"the first {part}/24", data[: len(data) * part // 24]
    yield format_id, "twice", data + data
    yield format_id, "behind a page", b"<!DOCTYPE html>" + data
    yield format_id, "behind zeros", bytes(512) + data


def _odd_pickles(good: hostile.State) -> Files:
    """Every opcode before the end of a good pickle, and globals that would do something."""
    pickled = hostile.pickle_of(good)
    argument = struct.pack("<Q", 3) + b"abc\n" + b"def\n"
    for opcode in pickletools.opcodes:
        code = opcode.code.encode("latin-1")
        for what, given in (("alone", b""), ("with an argument", argument)):
            odd = hostile.torch_zip(pickled[:-1] + code + given + b".")
            yield "plain", f"opcode {opcode.name} {what}", odd
    shell = pickle.dumps(f"touch {EXECUTED}", protocol=2)[2:-1]
    for name in CALLED:
        module, leaf = name.encode().split()
        ways = {
            "GLOBAL": b"c" + module + b"\n" + leaf + b"\n",
            "STACK_GLOBAL": pickle.dumps(module.decode(), 2)[2:-1]
            + pickle.dumps(leaf.decode(), 2)[2:-1]
            + b"\x93",
        }
        for way, found in ways.items():
            calling = b"\x80\x04" + found + shell + b"\x85R."
            yield "plain", f"{name} by {way}", hostile.torch_zip(calling)
        yield (
            "plain",
            f"{name} by INST",
            hostile.torch_zip(b"\x80\x02(" + shell + b"i" + module + b"\n" + leaf + b"\n."),
        )
    yield (
        "plain",
        "os.system before the tensors",
        hostile.torch_zip(b"\x80\x02cposix\nsystem\n" + shell + b"\x85R0" + pickled[2:]),
    )


def _odd_safetensors() -> Files:
    for claim in CLAIMS:
        for field in ("dtype", "shape", "data_offsets"):
            told = {**hostile.about([1], 0, 4), field: claim}
            yield "plain", f"{field} = {claim!r}", hostile.safetensors({"a": told}, bytes(4))
        for place in (0, 1):
            offsets = [0, 4]
            offsets[place] = claim  # type: ignore[call-overload]
            told = {**hostile.about([1], 0, 4), "data_offsets": offsets}
            yield "plain", f"offset {place} = {claim!r}", hostile.safetensors({"a": told}, bytes(4))
        told = hostile.about([claim], 0, 4)  # type: ignore[list-item]
        yield "plain", f"size {claim!r}", hostile.safetensors({"a": told}, bytes(4))
        yield "plain", f"tensor {claim!r}", hostile.safetensors({"a": claim}, bytes(4))
        yield "plain", f"metadata {claim!r}", hostile.safetensors({"__metadata__": claim}, b"")
    for length in (0, 1, 2**24, 2**31, 2**62, 2**64 - 1):
        text = json.dumps({"a": hostile.about([1], 0, 4)}).encode()
        yield "plain", f"header of {length}", struct.pack("<Q", length) + text + bytes(4)


def _odd_arrays() -> Files:
    shapes = ("()", "(0,)", "(-1,)", "(1,) * 9", "(True,)", "(1.0,)", "[1]", "1", "('1',)", "(1)")
    for shape in (*shapes, "(1, " * 40 + ")" * 40, "(10**9,)", f"({2**63},)"):
        yield "keras-npz", f"shape {shape[:30]}", hostile.npz(hostile.npy_header(shape), bytes(4))
    for descr in ("|O", "|V4", "<U4", "|S4", "<c8", "<M8[s]", "<f4\x00", "f4", "<i4", ">f4", "<x9"):
        header = hostile.npy_header("(1,)").replace("<f4", descr)
        yield "keras-npz", f"descr {descr!r}", hostile.npz(header, bytes(4))
    for header in ("{}", "", "None", "{'descr': '<f4'}", "__import__('os')", "\x00" * 60):
        yield "keras-npz", f"header {header[:20]!r}", hostile.npz(header, bytes(4))
