"""Files are replaced whole, and nothing but files is replaced."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.system import replace_text, replacing

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "link", "folder"):
        with pytest.raises(FileExistsError, match="not a regular file"):
            replace_text(tmp_path / name, "text")
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("old")
    (tmp_path / "link").symlink_to("other/file")
    replace_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "other" / "file").read_text() == "new"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), replacing(tmp_path / "file") as part:
        part.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_what_a_killed_process_left_is_removed_and_what_others_write_is_not(
    tmp_path: Path,
) -> None:
    program = (
        "import os, sys; from pathlib import Path; from harness.system import replacing\n"
        "with replacing(Path(sys.argv[1])) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "gone")], cwd=ROOT)
    [left] = tmp_path.iterdir()
    machine, _, process = left.name.removeprefix(".gone.").removesuffix(".part").partition("-")
    others = {f".file.{machine}-{os.getppid()}.part", f".file.another-{process}.part"}
    for name in others:  # a process at work here, and one of another machine
        (tmp_path / name).write_text("at work")
    replace_text(tmp_path / "file", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"file", *others}
