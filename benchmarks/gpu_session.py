"""What a machine with a GPU is asked when it is lent for some minutes, in one command.

    BENCH_HOME=carried python -m benchmarks.gpu_session --minutes 10

Steps, each in a process of its own that ends with its budget: the environment, the tests that need
a GPU, 2:4 products, latency in turns, answers that change with --fast, a fast training of ResNet-20
(160 epochs, target 90 s on one H100), then trainings of rows, those first that settle the most
printed figures for the pixels they see. What became of a step stands in reports/gpu below the home
folder: "ok" is not repeated by the next session, "failed" and "skipped" are tried again, and
"stopped" goes on where it was. Carry the home folder back and forth: results, states of unfinished
runs, no pictures.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import home, parsed
from harness import paths
from harness.errors import BenchError
from harness.registry import Entry, Registry, input_shape, load
from harness.results import load_all
from harness.system import provenance, replace_text
from harness.training import training_images

TARGET_S = 90.0  # ResNet-20, CIFAR-10, 160 epochs, one H100
LEAST_S = 20.0  # a step that would get less is left for the next session
TESTS = ("tests/sparse", "tests/profile", "tests/training")
FAST = ("amp-bf16", "--channels-last", "--compile", "--cuda-graphs")
STOPPED = 5  # exit code of a command that saved its state


@dataclass(frozen=True, slots=True)
class Step:
    """One question. command: its process; budget_s: it gets no more, nor more than is left."""

    name: str
    budget_s: float
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step. said: the line that tells why it failed, stopped or was skipped."""

    step: str
    status: str  # ok | failed | stopped | skipped
    seconds: float
    said: str = ""
    found: Any = None  # the JSON document that the step printed


Runner = Callable[[Step, float], Outcome]


def steps(device: str, small: bool) -> Iterator[Step]:
    """The steps before the rows, in order."""
    bench = (sys.executable, "-m", "cli")
    here = (sys.executable, "-m", "benchmarks.gpu_session", "--step")
    tests = TESTS[:1] if small else TESTS
    yield Step("tests", 150, (sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "gpu", *tests))
    yield Step("two-four", 60, (*here, "two-four"))
    entry = "dense-convnet-tiny-digits" if small else "dense-resnet20-cifar10"
    on = ("--device", device, "--json")
    ways = ("--backend", "eager", "--backend", "channels_last", "--no-memory")
    batches = ("--batch", "1") if small else ("--batch", "1", "--batch", "128")
    yield Step("latency", 90, (*bench, "latency", entry, *ways, *batches, *on))
    yield Step("fast-flips", 90, (*bench, "reproduce", entry, "--fast", *on))
    yield Step("training", 180, (*bench, *training(small), *on))


def training(small: bool) -> tuple[str, ...]:
    """The training with everything that is fast; the result names each of them."""
    what = ("--model", "convnet_tiny", "--dataset", "digits", "--set", "epochs=2")
    if not small:
        what = ("--model", "resnet20", "--dataset", "cifar10", "--recipe", "standard-cifar")
    precision, *switches = FAST
    name = ("--name", "gpu-session-fast", "--evaluate-every", "20")
    with_precision = () if small else ("--set", f"precision={precision}", *switches)
    return ("train", "--method", "dense", *what, *name, *with_precision)


def row_steps(registry: Registry, device: str) -> list[Step]:
    """Trainings of published rows that no result is on record for, most worth their time first."""
    known = {result.entry for result in load_all(layers=False) if result.runs}
    found = []
    for entry in registry.entries.values():
        worth = 0.0 if entry.id in known else value(entry, registry)
        if worth:
            command = ("reproduce", entry.id, "--mode", "train", "--device", device, "--json")
            step = Step(f"row-{entry.id}", 3600, (sys.executable, "-m", "cli", *command))
            found.append((worth, step))
    return [step for _, step in sorted(found, key=lambda pair: (-pair[0], pair[1].name))]


def value(entry: Entry, registry: Registry) -> float:
    """Printed figures per pixel that a training sees; 0 if it cannot be trained.

    Building hundreds of networks to count their products would take the session's minutes.
    """
    if entry.recipe is None:
        return 0.0
    images = training_images(entry, registry.recipes[entry.recipe])
    pixels = math.prod(input_shape(registry.evaluations[entry.evaluation]))
    return len(entry.published) / (images * pixels) if images else 0.0


def ran(step: Step, limit_s: float) -> Outcome:
    """The step's process; SIGTERM at the limit, so that a training saves what it has."""
    started = time.perf_counter()
    process = subprocess.Popen(step.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    late = False
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        late = True
        process.terminate()
        try:
            out, err = process.communicate(timeout=LEAST_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
    return outcome(step.name, process.returncode, late, time.perf_counter() - started, out, err)


def outcome(name: str, code: int, late: bool, seconds: float, out: bytes, err: bytes) -> Outcome:
    """What the exit code and the last line say. 3: judged, and the verdict is not a good one."""
    lines = [line for line in (out + b"\n" + err).decode(errors="replace").splitlines() if line]
    said = lines[-1] if lines else f"exit code {code}"
    found = _document(out)
    if code in (0, 3):
        return Outcome(name, "ok", seconds, found=found if found is not None else said)
    if late or code == STOPPED:
        return Outcome(name, "stopped", seconds, said)
    status = "skipped" if code == 4 else "failed"  # 4: a file or a device is missing
    return Outcome(name, status, seconds, said)


def _document(out: bytes) -> Any:
    try:
        return json.loads(out)
    except ValueError:
        return None


def session(
    todo: Sequence[Step], folder: Path, minutes: float, run: Runner, clock: Callable[[], float]
) -> list[Outcome]:
    """Run what is not done until the time is over; every outcome is written when it is known."""
    end, found = clock() + 60 * minutes, []
    for step in todo:
        file = folder / f"{step.name}.json"
        if file.exists() and json.loads(file.read_text())["status"] == "ok":
            continue
        left = end - clock()
        if left < LEAST_S:
            print(f"{step.name}: {left:.0f} s are left; the next session begins here")
            break
        made = run(step, min(step.budget_s, left - LEAST_S / 2))
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(file, json.dumps(asdict(made), indent=1) + "\n")
        print(f"{made.step}: {made.status}, {made.seconds:.0f} s {made.said}".rstrip(), flush=True)
        found.append(made)
    return found


def environment(device: str) -> dict[str, Any]:
    """Driver, build of torch and memory. Raises SystemExit with one line without a GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda or "no CUDA"
        raise SystemExit(
            f"no CUDA device: torch {torch.__version__} (built for {built}) sees none. Is a driver "
            "installed (nvidia-smi), and is this the CUDA build of torch?"
        )
    facts: dict[str, Any] = {
        "hardware": provenance.hardware(device),
        "versions": provenance.versions("triton"),
        "cuda_build": torch.version.cuda,
    }
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        facts |= {"memory_free_gb": free / 1e9, "memory_total_gb": total / 1e9}
        facts |= {"capability": torch.cuda.get_device_capability(), "driver": _driver()}
    return facts


def _driver() -> str:
    query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown: nvidia-smi does not answer"


def two_four() -> dict[str, Any]:
    """ResNet-50, half of its weights gone two by two: milliseconds a layer dense and as 2:4."""
    from harness.models import build
    from harness.sparse import compile_two_four
    from methods.masks import n_of_m

    torch.manual_seed(0)
    model = build("resnet50", num_classes=1000).eval()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.in_channels % 4 == 0:
            layer.weight.data *= n_of_m(layer.weight.data, 2, 4)
    where = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.randn(64, 3, 224, 224) if where == "cuda" else torch.randn(1, 3, 32, 32)
    fast = compile_two_four(model.to(where), images.to(where))
    return {"batch": len(images), "layers": [asdict(layer) for layer in fast.plan.layers]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--step", choices=["two-four"], help="print what this step finds, alone")
    chosen = parsed(parser, device="cpu", minutes=3.0)
    if chosen.step:
        try:
            print(json.dumps(two_four()))
        except BenchError as error:
            print(error, file=sys.stderr)
            raise SystemExit(4) from error
        return
    facts = environment(chosen.device)
    with home(chosen.small):
        folder = paths.reports_folder() / "gpu"
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / "environment.json", json.dumps(facts, indent=1) + "\n")
        todo = list(steps(chosen.device, chosen.small))
        todo += row_steps(load(), chosen.device) if not chosen.small else []
        found = session(todo, folder, chosen.minutes, ran, time.monotonic)
        fast = next((each for each in found if each.step == "training"), None)
        if fast is not None and fast.status == "ok":
            print(f"fast training: {fast.seconds:.0f} s with start-up (target {TARGET_S:g} s)")
        size = sum(file.stat().st_size for file in paths.home().rglob("*") if file.is_file())
        print(f"{len(found)} steps taken; the home folder holds {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
