from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import math
import struct
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.data import find_and_load, load
from harness.data.layouts.idx import IdxFiles
from harness.data.official_downloads import fetch, missing
from harness.errors import DataError
from harness.registry import DataSet, Download, data_set


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """The test output stays clean."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """(URL, folder it serves)."""
    folder = tmp_path / "host"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def archive(path: Path, name: str) -> str:
    """A tar.gz with `name` = b"pixels" at `path`; returns its md5."""
    with tarfile.open(path, "w:gz") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = 6
        tar.addfile(entry, io.BytesIO(b"pixels"))
    return hashlib.md5(path.read_bytes()).hexdigest()


def origin(url: str, md5: str, unpack: str | None = "batches") -> DataSet:
    return DataSet(
        name="toy",
        title="Toy",
        classes=10,
        channels=3,
        side=32,
        images={"test": 1},
        layout=IdxFiles,
        folder="batches",
        page="page",
        downloads=(Download(url, md5, unpack),),
    )


def left_behind(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_an_archive_is_checked_unpacked_and_put_in_place(
    tmp_path: Path, host: tuple[str, Path]
) -> None:
    url, folder = host
    md5 = archive(folder / "toy.tar.gz", "batches/test_batch")
    fetch(origin(f"{url}/toy.tar.gz", md5), tmp_path / "root")
    assert left_behind(tmp_path / "root") == ["batches/test_batch"]
    assert (tmp_path / "root/batches/test_batch").read_bytes() == b"pixels"


def test_a_plain_file_lands_in_the_folder_of_its_set(
    tmp_path: Path, host: tuple[str, Path]
) -> None:
    url, folder = host
    (folder / "labels").write_bytes(b"abc")
    md5 = hashlib.md5(b"abc").hexdigest()
    fetch(origin(f"{url}/labels", md5, unpack=None), tmp_path / "root")
    assert left_behind(tmp_path / "root") == ["batches/labels"]


def test_a_wrong_md5_leaves_nothing_and_tells_the_manual_way(
    tmp_path: Path, host: tuple[str, Path]
) -> None:
    url, folder = host
    archive(folder / "toy.tar.gz", "batches/test_batch")
    with pytest.raises(DataError, match=r"not the official file: .*0{32}") as caught:
        fetch(origin(f"{url}/toy.tar.gz", "0" * 32), tmp_path / "root")
    assert "BENCH_DATA_ROOT" in str(caught.value)
    assert left_behind(tmp_path / "root") == []


@pytest.mark.parametrize("path", ["/absent.tar.gz", None])
def test_an_absent_file_or_host_names_url_folder_and_variable(
    tmp_path: Path, host: tuple[str, Path], path: str | None
) -> None:
    url = host[0] + path if path else "http://127.0.0.1:9/toy.tar.gz"  # the discard port: refused
    with pytest.raises(DataError) as caught:
        fetch(origin(url, "0" * 32), tmp_path / "root")
    told = "the host answers 404" if path else "the host cannot be reached"
    for part in (url, told, str(tmp_path / "root/batches"), "BENCH_DATA_ROOT"):
        assert part in str(caught.value)
    assert left_behind(tmp_path / "root") == []


def test_an_archive_without_the_folder_or_with_an_escaping_path_is_refused(
    tmp_path: Path, host: tuple[str, Path]
) -> None:
    url, folder = host
    for name in ("other/file", "../escaped"):
        md5 = archive(folder / "toy.tar.gz", name)
        with pytest.raises(DataError):
            fetch(origin(f"{url}/toy.tar.gz", md5), tmp_path / "root")
        assert left_behind(tmp_path / "root") == []
    assert not (tmp_path / "escaped").exists()


def test_sets_without_a_public_file_name_their_page(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="image-net.org"):
        fetch(data_set("imagenet"), tmp_path)
    assert str(tmp_path / "imagenet") in missing(data_set("imagenet"), tmp_path)


def test_load_downloads_what_is_missing_and_knows_it_is_official(
    tmp_path: Path, host: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = host
    md5 = {}
    for name, shape in (("t10k-images-idx3", (10_000, 28, 28)), ("t10k-labels-idx1", (10_000,))):
        content = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
        packed = gzip.compress(content + bytes(math.prod(shape)))
        (folder / f"{name}-ubyte.gz").write_bytes(packed)
        md5[f"{name}-ubyte.gz"] = hashlib.md5(packed).hexdigest()
    downloads = tuple(Download(f"{url}/{name}", digest) for name, digest in md5.items())
    kmnist = dataclasses.replace(data_set("kmnist"), downloads=downloads, md5=md5)
    monkeypatch.setattr(find_and_load, "data_set", {"kmnist": kmnist}.__getitem__)
    with pytest.raises(DataError):
        load("kmnist", "test", tmp_path / "root", download=False)
    got = load("kmnist", "test", tmp_path / "root")
    assert got.identity.copy_name == "official" and len(got) == 10_000
    assert left_behind(tmp_path / "root") == sorted(f"KMNIST/raw/{name}" for name in md5)
