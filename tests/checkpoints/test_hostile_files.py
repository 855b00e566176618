"""Every hostile file is one line and exit 4, leaves nothing behind, and does not stand in the way.

The memory and time of all of them are measured in a process of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.checkpoints import convert
from harness.errors import CheckpointError
from harness.models import build
from harness.system import Reading
from tests.checkpoints import hostile
from tests.checkpoints.conftest import files_below, saved
from tests.commands.conftest import Bench, bench, document
from tests.support.command_line import disorder, typed

__all__ = ["bench"]  # a fixture

ROOT = Path(__file__).parent.parent.parent
MOST_BYTES, MOST_SECONDS = 2e9, 20.0
REGISTRY = """
version: 1
papers:
  mine: {title: t, venue: v, url: "https://example.org", code: null, license: MIT,
         flops_convention: macs}
families:
  - paper: mine
    method: dense
    granularity: dense
    model: MODEL
    dataset: DATASET
    evaluation: EVALUATION
    rows: [{id: t-hostile, checkpoint: {sources: ["data:none.pt"], format: FORMAT}}]
"""
DIGITS = ("convnet_tiny", "digits", "digits")
KERAS = ("resnet8_keras", "cifar10", "cifar10-raw255")


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return dict(build("convnet_tiny").state_dict())


FILES = hostile.refused(state())


def registry(folder: Path, format_id: str, where: tuple[str, str, str] = DIGITS) -> Path:
    text = REGISTRY.replace("FORMAT", format_id)
    for word, value in zip(("MODEL", "DATASET", "EVALUATION"), where, strict=True):
        text = text.replace(word, value)
    (folder / "registry.yaml").write_text(text)
    return folder / "registry.yaml"


def pulled_file(folder: Path, entries: Path, data: bytes, **environment: str) -> Result:
    """What becomes of the entry when somebody hands over `data`."""
    (folder / "given").write_bytes(data)
    given = ("--registry", entries, "--from", folder / "given")
    return typed("pull", "t-hostile", *given, **environment)


def pulled(folder: Path, entries: Path, data: bytes) -> tuple[int, list[str]]:
    done = pulled_file(folder, entries, data)
    assert disorder(done) == ""
    return done.exit_code, done.stderr.splitlines()


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_one_line_and_then_the_good_one_is_taken(
    name: str, home: Path, tmp_path: Path
) -> None:
    format_id, data = FILES[name]
    entries = registry(tmp_path, format_id)
    code, lines = pulled(tmp_path, entries, data)
    assert (code, len(lines)) == (4, 1), lines
    assert lines[0].startswith("bench: t-hostile: ")
    assert files_below(home) == []
    if format_id in ("plain", "rd", "acdc"):
        assert pulled(tmp_path, entries, saved(state()))[0] == 0


@pytest.mark.parametrize("name", hostile.refused_h5() if "h5py" in sys.modules else ["all"])
def test_a_hostile_hdf5_file_is_one_line(name: str, home: Path, tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="the extra `keras` is not installed")
    entries = registry(tmp_path, "keras-h5", KERAS)
    made = hostile.refused_h5()
    for data in [made[name]] if name in made else made.values():
        code, lines = pulled(tmp_path, entries, data)
        assert (code, len(lines)) == (4, 1), lines
        assert files_below(home) == []


def test_text_that_no_file_can_hold_is_cleaned(bench: Bench, home: Path, tmp_path: Path) -> None:
    content = {"state_dict": state(), "note": "a\udc80b", "big": 10**5000, "nan": float("nan")}
    (tmp_path / "given").write_bytes(saved(content))
    for format_id in ("plain", "acdc"):
        entries = registry(tmp_path, format_id)
        arguments = ("--registry", entries, "--from", tmp_path / "given", "--json")
        done = bench("pull", "t-hostile", *arguments)
        assert done.exit_code == 0, done.stderr
        assert document(done)[0]["stated"] == {"note": "a\\udc80b"}


MEASURE = """
import json, resource, sys, time
from pathlib import Path
from harness.checkpoints import convert
from harness.errors import CheckpointError
from harness.models import build
from harness.system import Reading
wanted = build("convnet_tiny").state_dict()
took = {}
for file in sorted(Path(sys.argv[1]).iterdir()):
    begun = time.process_time()
    try:
        convert(file, wanted, Reading(file.name.split(",")[0]))
    except CheckpointError:
        took[file.name] = time.process_time() - begun
status = Path("/proc/self/status")  # ru_maxrss would begin with the peak of the parent process
if status.exists():
    [peak] = [int(l.split()[1]) for l in status.read_text().splitlines() if l.startswith("VmHWM")]
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([took, peak]))
"""


@pytest.mark.slow
def test_no_hostile_file_takes_much_memory_or_time(tmp_path: Path) -> None:
    for number, (format_id, data) in enumerate(FILES.values()):
        (tmp_path / f"{format_id},{number}").write_bytes(data)
    shown = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    took, peak = json.loads(shown.stdout)
    assert len(took) == len(FILES)
    assert max(took.values()) < MOST_SECONDS
    assert peak * (1 if sys.platform == "darwin" else 1024) < MOST_BYTES


CONTAINERS = {
    "zip": saved({"state_dict": state(), "epoch": 3}),
    "legacy": saved({"state_dict": state(), "epoch": 3}, legacy=True),
}


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(CONTAINERS)),
    places=st.lists(st.integers(0, 6000), min_size=1, max_size=6),
    value=st.integers(0, 255),
    cut=st.integers(0, 20),
)
def test_damage_anywhere_is_told_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, kind: str, places: list[int], value: int, cut: int
) -> None:
    damaged = bytearray(CONTAINERS[kind])
    for place in places:
        damaged[place % len(damaged)] = value
    file = tmp_path_factory.mktemp("damaged") / "f"
    file.write_bytes(damaged[: len(damaged) - cut])
    try:
        made = convert(file, state(), Reading("plain"))
    except CheckpointError as error:
        assert str(error).isprintable()
    else:
        assert made.tensors.keys() == state().keys()
