"""The sparse runtime beside other people's engines, each in a process of its own, in turns.

ResNet-50 at STR's layer densities, MobileNetV1 at the weights and multiply-accumulates that STR
publishes for 75 and 89 %, and ViT-S/16 with 90 and 95 % zeros in every layer; weights random, zeros
at random places, 224x224, float32. Engines of other environments are named by their interpreter,
and left out without it:

    python -m venv ds && ds/bin/pip install deepsparse==1.8.0
    python -m venv ov && ov/bin/pip install openvino
    python -m venv lite && lite/bin/pip install ai-edge-litert tensorflow-cpu onnx
    python -m benchmarks.sparse_peers --threads 2 --deepsparse-python ds/bin/python \\
        --openvino-python ov/bin/python --litert-python lite/bin/python \\
        [--network resnet50-90.23 ...] [--batch 1 16]
    python -m benchmarks.sparse_peers --report

Files go between them: ONNX for the others, a saved network for ours, inputs and outputs as .npy;
outputs must agree with PyTorch's before anything is timed. A turn is untimed passes for 20 ms, at
least one, and one timed pass of one process while the others wait. One file per network and batch
below reports/sparse/peers; what is there already is not measured again. The page is
reports/sparse/peers.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks import home, parsed
from harness import paths, sparse
from harness.models import build
from harness.profile import fresh_network, input_shape_of, networks_of_model, prune_at_random_
from harness.system import provenance
from methods.inventory import prunable_weights

ENGINE = Path(__file__).parent / "engines" / "one_engine.py"
TO_LITERT = ENGINE.with_name("litert_file.py")
OTHERS = {"deepsparse": "pruned.onnx", "openvino": "pruned.onnx", "litert": "pruned.tflite"}
BUDGETS = Path("tests/fixtures/str/budgets_resnet50.csv")
# MobileNetV1: shares of zeros in the pointwise convolutions and in the classifier with which the
# published parameters (1.04 M and 0.46 M) and multiply-accumulates (101 M and 42 M) hold, all else
# dense; the layers' own densities are not published.
MOBILENET = {"75.28": (0.866, 0.44), "89.01": (0.975, 0.672)}
NETWORKS = (
    *(f"resnet50-{level}" for level in ("90.23", "95.15", "98.05")),
    *(f"mobilenetv1-{level}" for level in MOBILENET),
    *(f"vit_small_patch16_224-{level}" for level in ("90", "95")),
)
OURS = "reprune"
SMALL = "convnet_tiny-50"
OPSETS = {"timm/vit_small_patch16_224": 17}  # attention needs 14
OPSET = 13  # the newest that all of them read
LARGEST_DIFFERENCE = 1e-3  # of the largest output; sums in other orders stay below 1e-4
PAUSE_S = 0.12  # threads of the process before were seen spinning for 0.1 s
REPEATS = {1: 30}
REPEATS_OF_BATCHES = 8


@dataclass(frozen=True)
class Way:
    """An engine on one file, by an interpreter. dense: the network without zeros."""

    name: str
    engine: str
    file: str
    python: str
    dense: bool = False


def ways(python: dict[str, str | None]) -> list[Way]:
    """What can run here. python: engine -> interpreter, None where there is none."""
    here = sys.executable
    found = [
        Way(OURS, "reprune", "net.sparse", here),
        Way("dense eager", "torch", "dense.safetensors", here, dense=True),
        Way("dense onnxruntime", "onnxruntime", "dense.onnx", here, dense=True),
    ]
    for engine, file in OTHERS.items():
        if chosen := python[engine]:
            found.append(Way(engine, engine, file, chosen))
    return found


@torch.no_grad()
def networks(name: str) -> tuple[str, nn.Module, nn.Module]:
    """The model's name, the dense network and the pruned one."""
    model, _, level = name.rpartition("-")
    if model == "resnet50":
        dense, pruned = networks_of_model(model, budgets=[f"{BUDGETS}:{level}"]).networks
        return model, dense.network, pruned.network
    model = f"timm/{model}" if model.startswith("vit") else model
    shape = input_shape_of(model, None)
    dense_network, network = (fresh_network(model, None, shape) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    prune_at_random_(network, _budget(model, level), generator)
    return model, dense_network, network


def _budget(model: str, level: str) -> dict[str, float]:
    """Layer -> share of zeros."""
    weights = prunable_weights(build(model))
    if level not in MOBILENET:
        return dict.fromkeys(weights, float(level) / 100)
    pointwise, classifier = MOBILENET[level]
    return {
        name: classifier if isinstance(weight.owner, nn.Linear) else pointwise
        for name, weight in weights.items()
        if isinstance(weight.owner, nn.Linear) or weight.owner.kernel_size == (1, 1)
    }


def measure(name: str, batch: int, python: dict[str, str | None], threads: int) -> dict[str, Any]:
    """The record of one network at one batch size."""
    model, dense, pruned = networks(name)
    shape = input_shape_of(model, None)
    images = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))
    torch.set_num_threads(threads)
    began = time.perf_counter()
    fast = sparse.compile(pruned, images, slower="keep")
    compile_s = time.perf_counter() - began
    assert isinstance(fast, sparse.CompiledNetwork), "images are on the CPU"
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        fast.save(folder / "net.sparse")
        _write(folder, model, dense, pruned, images)
        if chosen := python["litert"]:
            _convert(chosen, folder)
        repeats = REPEATS.get(batch, REPEATS_OF_BATCHES)
        found, left_out = in_turns(ways(python), folder, threads, repeats)
    return {
        "network": name,
        "batch": batch,
        "threads": threads,
        "samples_ms": {way: taken for way, (taken, _) in found.items()},
        "engines": {way: about for way, (_, about) in found.items()},
        "left_out": left_out,
        "settings": {name: os.environ[name] for name in sorted(os.environ) if name[:3] == "NM_"},
        "compile_s": round(compile_s, 1),
        "plan": json.loads(fast.plan.to_json()),
        "taken": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_average": os.getloadavg()[0],
        "hardware": provenance.hardware("cpu"),
        "features": cpu_features(),
        "versions": provenance.versions("onnxruntime"),
        "code": provenance.code_version(),
    }


def _write(folder: Path, model: str, dense: nn.Module, pruned: nn.Module, images: Tensor) -> None:
    """Files that the engines read, and what must come out: of the dense and of the pruned one."""
    np.save(folder / "images.npy", images.numpy())
    save_file(dense.state_dict(), folder / "dense.safetensors", {"model": model})
    opset = OPSETS.get(model, OPSET)
    for name, network in (("dense", dense), ("pruned", pruned)):
        (folder / f"{name}.onnx").write_bytes(sparse.quick_onnx(network, images, opset))
        with torch.inference_mode():
            np.save(folder / f"{name}.npy", network(images).numpy())


def _convert(python: str, folder: Path) -> None:
    """The pruned network for LiteRT; without the file its engine is left out, and says why."""
    files = (str(folder / name) for name in ("pruned.onnx", "images.npy", "pruned.tflite"))
    command = [python, str(TO_LITERT), *files]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


class Engine:
    """A process that runs one way whenever it is asked."""

    def __init__(self, way: Way, folder: Path, threads: int) -> None:
        self.outputs = folder / f"{way.name.replace(' ', '-')}.npy"
        command = [way.python, str(ENGINE), way.engine, str(folder / way.file)]
        files = [str(folder / "images.npy"), str(self.outputs), "--threads", str(threads)]
        root = str(ENGINE.parents[2])
        self.messages = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*command, *files],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.messages,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": root},
        )
        try:
            self.about: dict[str, Any] = self._answer()
        except OSError:
            self.close()
            raise

    def times(self, passes: int) -> list[float]:
        """Milliseconds of timed passes."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{passes}\n")
        self.process.stdin.flush()
        taken: list[float] = self._answer()
        return taken

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.messages.seek(0)
            said = self.messages.read().decode(errors="replace").strip().splitlines()
            raise OSError(said[-1][:200] if said else f"exit {self.process.returncode}")
        return json.loads(line)

    def close(self) -> None:
        self.process.communicate()
        self.messages.close()


@contextmanager
def started(
    ways: Sequence[Way], folder: Path, threads: int
) -> Iterator[tuple[dict[str, Engine], dict[str, str]]]:
    """Engines that give the right outputs, and why the others do not."""
    engines: dict[str, Engine] = {}
    left_out: dict[str, str] = {}
    try:
        for way in ways:
            try:
                engine = Engine(way, folder, threads)
            except OSError as error:
                left_out[way.name] = str(error)
                continue
            difference = _difference(engine.outputs, folder, way.dense)
            if difference > LARGEST_DIFFERENCE:
                engine.close()
                left_out[way.name] = f"outputs are off by {difference:.1e} of the largest"
                continue
            engines[way.name] = engine
        yield engines, left_out
    finally:
        for engine in engines.values():
            engine.close()


def _difference(outputs: Path, folder: Path, dense: bool) -> float:
    """Largest difference to PyTorch's outputs, in shares of the largest of them."""
    expected = np.load(folder / ("dense.npy" if dense else "pruned.npy"))
    found = np.load(outputs)
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def in_turns(
    ways: Sequence[Way], folder: Path, threads: int, repeats: int
) -> tuple[dict[str, tuple[list[float], dict[str, Any]]], dict[str, str]]:
    """Way -> (milliseconds, what the engine says of itself), and why others were left out."""
    with started(ways, folder, threads) as (engines, left_out):
        taken: dict[str, list[float]] = {name: [] for name in engines}
        order = list(engines.items())
        for _ in range(repeats):
            for name, engine in order:
                time.sleep(PAUSE_S)
                taken[name] += [round(ms, 3) for ms in engine.times(1)]
            order.reverse()
        return {name: (taken[name], engine.about) for name, engine in engines.items()}, left_out


def cpu_features() -> str:
    """The vector instructions that kernels may choose among."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.exists() else []
    wanted = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")
    return " ".join(flag for flag in wanted if flag in flags) or "unknown"


def page(records: list[dict[str, Any]]) -> str:
    """The page: one table, and the slowest layers wherever another engine is faster."""
    newest = max(records, key=lambda record: record["taken"])
    engines = {way: about for record in records for way, about in record["engines"].items()}
    lines = [
        "# Beside the peers",
        "",
        "Made by `python -m benchmarks.sparse_peers` (see its head). Weights are random; accuracy "
        "is not claimed. Whole network, float32, 224x224; one process per engine, in turns "
        "(untimed passes for 20 ms, then a timed one); ours starts from a saved network.",
        "",
        f"{newest['hardware']['cpu']} ({newest['features']}), {newest['threads']} threads, "
        f"{newest['taken']}; torch {newest['versions']['torch']}; "
        + ", ".join(f"{about['engine']} {about['version']}" for about in engines.values())
        + ".",
        "",
        "| network | batch | engine | n | p50 ms | quartiles | its time / ours (quartiles) |",
        "| --- | ---: | --- | ---: | ---: | --- | --- |",
    ]
    lines += [line for record in records for line in _rows(record)]
    for record in records:
        lines += _where_another_wins(record)
    lines += ["", *map(_circumstances, records)]
    left_out = {f"{way}: {why}" for record in records for way, why in record["left_out"].items()}
    lines += [*(f"- left out: {line}" for line in sorted(left_out))]
    return "\n".join([*lines, ""])


def _circumstances(record: dict[str, Any]) -> str:
    """How busy the machine was, and which code ran: a time says little without."""
    commit, load = str(record["code"].get("commit"))[:7], record["load_average"]
    settings = "".join(f", {name}={value}" for name, value in record["settings"].items())
    return (
        f"- {record['network']}, batch {record['batch']}: load average {load:.1f}, "
        f"commit {commit}, compiled in {record['compile_s']} s{settings}"
    )


def _rows(record: dict[str, Any]) -> list[str]:
    samples = record["samples_ms"]
    rows = []
    for way, taken in sorted(samples.items(), key=lambda item: statistics.median(item[1])):
        p25, p50, p75 = statistics.quantiles(taken, n=4, method="inclusive")
        pairs = [other / ours for other, ours in zip(taken, samples[OURS], strict=True)]
        low, ratio, high = statistics.quantiles(pairs, n=4, method="inclusive")
        said = "–" if way == OURS else f"{ratio:.2f} ({low:.2f}–{high:.2f})"
        cells = [record["network"], str(record["batch"]), way, str(len(taken)), f"{p50:.2f}"]
        rows.append(f"| {' | '.join([*cells, f'{p25:.2f}–{p75:.2f}', said])} |")
    return rows


def _where_another_wins(record: dict[str, Any]) -> list[str]:
    medians = {way: statistics.median(taken) for way, taken in record["samples_ms"].items()}
    best = min(medians, key=lambda way: medians[way])
    if best == OURS:
        return []
    layers = sorted(record["plan"]["layers"], key=lambda layer: -layer["ms"][layer["form"]])[:5]
    slowest = ", ".join(
        f"{layer['name']} {layer['ms'][layer['form']]:.2f} ms ({layer['form']}, "
        f"{100 * layer['density']:.1f} % dense)"
        for layer in layers
    )
    gain = medians[OURS] / medians[best]
    return [
        "",
        f"{record['network']}, batch {record['batch']}: {best} is {gain:.2f} times faster than "
        f"ours. Our slowest layers, as measured alone: {slowest}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="the sparse runtime beside other engines")
    parser.add_argument("--network", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    for engine in OTHERS:
        parser.add_argument(f"--{engine}-python", help="interpreter of that engine's environment")
    parser.add_argument("--seconds", type=float, default=220, help="begin nothing after these")
    parser.add_argument("--report", action="store_true", help="only make the page")
    arguments = parsed(parser, network=[SMALL], batch=[2])
    python = {engine: vars(arguments)[f"{engine}_python"] for engine in OTHERS}
    with home(temporary=arguments.small):
        folder = paths.latency_folder().parent / "sparse" / "peers"
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        for name, batch in product([] if arguments.report else arguments.network, arguments.batch):
            file = folder / f"{name}-b{batch}.json"
            if file.exists() or time.monotonic() - began > arguments.seconds:
                continue
            record = measure(name, batch, python, arguments.threads)
            file.write_text(json.dumps(record) + "\n")
            print("\n".join(_rows(record)), file=sys.stderr, flush=True)
        files = sorted(
            folder.glob("*.json"),
            key=lambda file: (file.stem.split("-b")[0], len(file.stem), file.stem),
        )
        text = page([json.loads(file.read_text()) for file in files])
        folder.with_name("peers.md").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
