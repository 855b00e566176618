"""Bytes that are no checkpoint: each kind has its own words, and none is opened."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from harness.checkpoints import obtain
from harness.checkpoints.sniffing import Kind, sniff
from harness.errors import NotACheckpoint
from tests.checkpoints.conftest import SMALL, files_below, make_entry, saved, tiny_state


def tar_of(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npz_of(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
REFUSED = {
    "empty": (b"", "empty"),
    "html": (b"\n  <!doctype html><p>hello", "HTML"),
    "html after a byte-order mark": (b"\xef\xbb\xbf<html>Too many users", "download-quota page"),
    "xml that is html": (b'<?xml version="1.0"?><html xmlns="x">', "HTML"),
    "lfs pointer": (LFS, "Git LFS pointer"),
    "json error": (b'{"error": "not found"}', "plain text"),
    "text pickle": (b"cposix\nsystem\n(S'true'\ntR.", "plain text"),
    "pickle": (pickle.dumps({"a": [1, 2]}), "Python pickle"),
    "truncated torch zip": (SMALL[:-100], "truncated zip"),
    "zip of something else": (zip_of(**{"readme.txt": b"hi"}), r"something else \('readme.txt'\)"),
    "torchscript": (
        zip_of(**{"m/data.pkl": b"x", "m/constants.pkl": b"x", "m/code/a.py": b"x"}),
        "TorchScript",
    ),
    "zip bomb": (zip_of(**{"a.npy": b"\0" * 30_000_000}), "unfolds into"),
    "tar": (tar_of("model.pth", SMALL), "tar archive"),
    "gzip": (gzip.compress(SMALL), "gzip-compressed"),
    "truncated safetensors": (
        (500).to_bytes(8, "little") + b'{"a":' + b" " * 20 + b"\0",
        "truncated",
    ),
    "unknown binary": (bytes(range(128, 256)) * 4, "binary data without a known signature"),
    "npz for a torch format": (npz_of(a=np.ones(3)), "is npz archive, not .*'plain'"),
}


@pytest.mark.parametrize(("data", "text"), REFUSED.values(), ids=list(REFUSED))
def test_wrong_file_is_refused_with_its_own_words(
    home: Path, tmp_path: Path, data: bytes, text: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(NotACheckpoint, match=text) as caught:
        obtain(make_entry("data:f"), from_file=file)
    assert str(caught.value).startswith("dense-tiny: ")
    assert "bench pull dense-tiny --from FILE" in str(caught.value)
    assert files_below(home) == []


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (SMALL, Kind.TORCH_ZIP),
        (saved(tiny_state(), legacy=True), Kind.TORCH_LEGACY),
        (npz_of(a=np.ones(3)), Kind.NPZ),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), Kind.HDF5),
        ((2).to_bytes(8, "little") + b"{}", Kind.SAFETENSORS),
        (np.arange(1000, 1500, dtype="<u4").tobytes(), Kind.BINARY),
    ],
)
def test_containers_are_told_apart(tmp_path: Path, data: bytes, kind: Kind) -> None:
    (tmp_path / "f").write_bytes(data)
    assert sniff(tmp_path / "f") is kind
