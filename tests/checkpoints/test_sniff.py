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
from harness.checkpoints.sniffing import Kind, is_index, require, sniff
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


HEAD = 65_536  # bytes that are looked at
V7_HEADER = b"a" + bytes(99) + b"0000644\0" + b"0000000\0" * 2 + b"00000000000\0" * 2


def sniffed(folder: Path, data: bytes) -> Kind | str:
    """The container, or the words of the refusal."""
    (folder / "f").write_bytes(data)
    try:
        return sniff(folder / "f")
    except NotACheckpoint as error:
        return str(error)


def safetensors(header: int, content: bytes) -> bytes:
    return header.to_bytes(8, "little") + content


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (safetensors(2, b"{}"), Kind.SAFETENSORS),
        (safetensors(2, b"{}" + bytes(4)), Kind.SAFETENSORS),
        (safetensors(3, b"{}"), "truncated"),  # a byte is missing
        (safetensors(100_000_000, b"{}"), "truncated"),
        (safetensors(100_000_001, b"{}"), Kind.BINARY),  # the library: header too large
        (safetensors(2 + 2**56, b"{}"), Kind.BINARY),
        (safetensors(2, b"[]"), Kind.BINARY),
        (safetensors(2, b""), Kind.BINARY),
    ],
)
def test_a_safetensors_file_holds_the_header_that_it_announces(
    tmp_path: Path, data: bytes, kind: Kind | str
) -> None:
    found = sniffed(tmp_path, data)
    assert found is kind if isinstance(kind, Kind) else kind in found


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a" * (HEAD - 1) + "\u00e9".encode() + b"a" * 9, True),  # a character cut by our reading
        (b"a" * 70 + "\U0001f600".encode()[:3], True),
        (b"a" * (HEAD - 5) + b"\xffaaaa" + b"a" * 9, False),
        (b"a" * 70 + b"\xff", False),
        (b"\x1b[31mred\x0c\r\n\ttext\x1b[0m", True),
        (b"a \x1f", False),
        (b"a \x20", True),
        (b"a" * 4095 + b"\x01", False),
        (b"a" * 4096 + b"\x01", True),  # a start like that is text
        (b"aaaa\0", False),
    ],
)
def test_text_is_told_from_bytes(tmp_path: Path, data: bytes, text: bool) -> None:
    found = sniffed(tmp_path, data)
    assert "plain text" in found if text else found is Kind.BINARY


def test_a_text_is_shown_by_its_first_sixty_bytes(tmp_path: Path) -> None:
    data = b"".join(b"%02d " % number for number in range(40))
    shown = " ".join(f"{number:02d}" for number in range(20))
    assert f"(120 bytes), not a checkpoint; it begins {shown!r}." in sniffed(tmp_path, data)


@pytest.mark.parametrize(("before", "html"), [(507, True), (508, False)])
def test_html_is_looked_for_at_the_start(tmp_path: Path, before: int, html: bool) -> None:
    found = sniffed(tmp_path, b"x" * before + b"<html>")
    assert ("file is HTML" if html else "plain text") in found


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (b"<html>Sign in", "The host returned a login page."),
        (
            b"<html><title> Virus \n scan </title>",
            "a virus-scan warning page titled 'Virus \\n scan'",
        ),
        (b"<html>hello", "The host returned a login, quota or error page."),
        (
            b"<html><TITLE lang='en'>" + b"0123456789" * 7 + b"</TITLE>",
            f"error page titled {'0123456789' * 6!r}.",
        ),
    ],
)
def test_a_page_is_named_by_its_title_and_its_words(tmp_path: Path, page: bytes, said: str) -> None:
    assert said in sniffed(tmp_path, page)


def tar_header(magic: bytes, checksum: bool) -> bytes:
    block = bytearray((V7_HEADER + b" " * 8 + b"0" + bytes(100) + magic).ljust(512, b"\0"))
    if checksum:
        block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("data", "tar"),
    [
        (tar_header(b"", checksum=True), True),  # older than the magic word
        (tar_header(b"ustar\0", checksum=False), True),  # damaged, and still no checkpoint
        (tar_header(b"", checksum=False), False),
        (tar_header(b"ustaR\0", checksum=False), False),
        (tar_header(b" ustar", checksum=False), False),
    ],
)
def test_tar_archives_are_known_by_their_word_or_their_sum(
    tmp_path: Path, data: bytes, tar: bool
) -> None:
    found = sniffed(tmp_path, data)
    assert "tar archive" in found if tar else found is Kind.BINARY


def test_a_zip_of_something_else_is_shown_by_three_of_its_names(tmp_path: Path) -> None:
    members = {f"{name}.npy": b"" for name in "abc"}
    found = sniffed(tmp_path, zip_of(**members, **{"d.txt": b""}))
    assert "something else ('a.npy', 'b.npy', 'c.npy'), not a checkpoint" in found
    assert "something else (nothing)" in sniffed(tmp_path, zip_of())


INDEX = b'{"metadata": {}, "weight_map": {"a": "one.safetensors"}}'


@pytest.mark.parametrize(
    ("data", "index"),
    [(INDEX, True), (b" \n" + INDEX, True), (INDEX[1:], False), (SMALL, False), (b"", False)],
)
def test_an_index_of_shards_is_a_table_of_weights(tmp_path: Path, data: bytes, index: bool) -> None:
    (tmp_path / "f").write_bytes(data)
    assert is_index(tmp_path / "f") is index
    assert (sniffed(tmp_path, data) is Kind.SHARDED) is index


def test_a_format_takes_the_containers_it_comes_in(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(SMALL)
    wanted = (Kind.TORCH_LEGACY, Kind.TORCH_ZIP)
    assert require(tmp_path / "f", iter(wanted), "plain") is Kind.TORCH_ZIP
    with pytest.raises(NotACheckpoint, match="is torch zip archive, not .* comes as npz archive"):
        require(tmp_path / "f", [Kind.NPZ], "keras")
