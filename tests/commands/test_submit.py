"""`bench submit`: a bundle that passes its own checks, and every way to tamper with one."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import results
from tests.commands.conftest import Bench, document
from tests.support.command_line import typed
from tests.support.installed import ROOT
from tests.support.results import made

ENTRY = "acdc-convnet-tiny-digits-90"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of the project's record, as if it was measured here, bundled; nobody changes it."""
    folder = tmp_path_factory.mktemp("submitted")
    own = folder / "home" / "reports" / "results" / ENTRY
    shutil.copytree(ROOT / "reports" / "results" / ENTRY, own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_HOME", str(folder / "home"))
        done = typed("submit", ENTRY, "--out", folder / "bundle", "--json")
    assert done.exit_code == 0, done.output
    assert document(done)["folder"] == str(folder / "bundle")
    return folder / "bundle"


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def result_file(folder: Path) -> Path:
    [file] = folder.glob(f"reports/results/{ENTRY}/*.json")
    return file


def sign(folder: Path) -> None:
    """Sums as somebody would make them who changed a file on purpose."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "SHA256SUMS"]
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder)}\n" for p in files
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_a_bundle_holds_result_protocol_environment_and_text(bundle: Path, bench: Bench) -> None:
    names = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    place = result_file(bundle).relative_to(bundle).with_suffix("").as_posix()
    assert names == {
        f"{place}.json",
        f"{place}.npz",
        "protocol.json",
        "environment.json",
        "PULL_REQUEST.md",
        "SHA256SUMS",
    }
    [protocol] = json.loads((bundle / "protocol.json").read_text())
    assert (protocol["entry"]["id"], protocol["evaluation"]["name"]) == (ENTRY, "digits")
    [environment] = json.loads((bundle / "environment.json").read_text())
    recorded = json.loads(result_file(bundle).read_text())
    assert {key: environment[key] for key in ("versions", "hardware", "code")} == {
        key: recorded[key] for key in ("versions", "hardware", "code")
    }
    text = (bundle / "PULL_REQUEST.md").read_text()
    assert f"## {ENTRY}: " in text and "| top1_pct | " in text and "--verify bundle" in text
    done = bench("submit", "--verify", bundle)
    assert (done.exit_code, "as it says" in done.stdout) == (0, True)


def test_the_sums_are_those_that_sha256sum_checks(bundle: Path) -> None:
    tool = shutil.which("sha256sum")
    if tool is None:
        pytest.skip("no sha256sum")
    subprocess.run([tool, "--check", "--strict", "SHA256SUMS"], cwd=bundle, check=True)


def changed(**values: Any) -> Callable[[Path], None]:
    """A result whose fields say something else, signed anew."""

    def change(folder: Path) -> None:
        file = result_file(folder)
        found = json.loads(file.read_text())
        for path, value in values.items():
            inside = found
            *parents, last = path.split("__")
            for parent in parents:
                inside = inside[parent]
            inside[last] = value
        file.write_text(json.dumps(found))
        sign(folder)

    return change


def other_answers(folder: Path) -> None:
    file = result_file(folder).with_suffix(".npz")
    np.savez_compressed(file, predictions=np.zeros(364, np.uint16))
    sign(folder)


def bomb(folder: Path) -> None:
    file = result_file(folder).with_suffix(".npz")
    np.savez_compressed(file, predictions=np.zeros(10_000_000, np.uint16))
    sign(folder)


def link(folder: Path) -> None:
    (folder / "environment.json").unlink()
    (folder / "environment.json").symlink_to("/etc/hostname")
    sign(folder)


TAMPERED = [
    (lambda f: (f / "PULL_REQUEST.md").write_text("x"), "not the file that SHA256SUMS lists"),
    (lambda f: (f / "more.py").write_text("x"), "'more.py' is there and not listed"),
    (lambda f: (f / "protocol.json").unlink(), "'protocol.json' is listed and not there"),
    (lambda f: (f / "SHA256SUMS").unlink(), "it has no SHA256SUMS"),
    (lambda f: (f / "SHA256SUMS").write_text("x"), "line by line"),
    (link, "'environment.json' is no plain file"),
    (lambda f: (shutil.rmtree(f / "reports"), sign(f)), "it holds no result"),
    (changed(counts__top1=364), "top1_pct does not follow from what was counted"),
    (changed(verdict__status="near"), "its verdict does not follow"),
    (changed(entry_sha256="0" * 64), "the entry was another one"),
    (changed(protocol__sha256="0" * 64), "its protocol digits v1 is not today's"),
    (changed(checkpoint__sha256="0" * 64), "its checkpoint is 000000000000, not "),
    (changed(smoke="10 images"), "it is a trial"),
    (changed(code={"commit": "a", "dirty": True}), "not committed"),
    (changed(paper=None), "is no entry of the registry"),
    (changed(result_id="20260101T000000Z-00000000"), "20260101T000000Z"),
    (changed(schema_version=99), "schema_version"),
    (other_answers, "its answers per image are not those"),
    (bomb, "its answers per image cannot be read (ValueError: 20000"),
    (lambda f: (result_file(f).with_suffix(".npz").unlink(), sign(f)), "are missing"),
]


@pytest.mark.parametrize(("tamper", "said"), TAMPERED, ids=[said for _, said in TAMPERED])
def test_what_was_tampered_with_is_found(
    bench: Bench, copy: Path, tamper: Callable[[Path], object], said: str
) -> None:
    tamper(copy)
    done = bench("submit", "--verify", copy)
    assert done.exit_code == 3
    assert said in done.stdout


def test_what_would_be_refused_is_not_bundled(bench: Bench, tmp_path: Path) -> None:
    results.save(made(entry="local-mine", paper=None))
    done = bench("submit", "local-mine", "--out", tmp_path / "x")
    assert done.exit_code == 2
    assert "local-mine is no entry of the registry; first: bench registry add" in done.stderr
    assert not (tmp_path / "x").exists()
    done = bench("submit", "nobody", "--out", tmp_path / "x")
    assert done.exit_code == 4 and "Measure it first: bench reproduce nobody" in done.stderr


def test_a_folder_that_is_there_is_left_alone(
    bench: Bench, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(bundle.parent / "home"))
    done = bench("submit", ENTRY, "--out", tmp_path)
    assert done.exit_code == 2 and "exists already" in done.stderr
