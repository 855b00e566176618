"""One inference engine in a process of its own, which benchmarks.sparse_peers talks to in lines.

    PYTHON benchmarks/engines/one_engine.py deepsparse network.onnx in.npy out.npy --threads 2

Needs numpy and the engine: other people's engines run in whatever environment they are installed
in, without this project. Writes the outputs, says what it is as one line of JSON, then answers
every line `N` on stdin with N milliseconds, after untimed passes for WARM_S, at least one, that
wake its threads and fill its caches; a closed stdin ends it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

WARM_S = 0.02  # after a pause small networks were seen to need five passes to be fast again
Array = np.ndarray
Run = Callable[[], Array]


def reprune(file: str, images: Array, threads: int) -> Run:
    """The sparse runtime of this project, started from a saved network."""
    import torch

    from harness import sparse

    torch.set_num_threads(threads)
    network, batch = sparse.load(file), torch.from_numpy(images)
    return lambda: network(batch).numpy()


def torch(file: str, images: Array, threads: int) -> Run:
    """PyTorch's eager execution. file: safetensors, whose metadata name the model."""
    import torch
    from safetensors import safe_open

    from harness.models import build

    torch.set_num_threads(threads)
    with safe_open(file, "pt") as stored:
        network = build(stored.metadata()["model"]).eval()
        network.load_state_dict({name: stored.get_tensor(name) for name in stored.keys()})
    batch = torch.from_numpy(images)

    def run() -> Array:
        with torch.inference_mode():
            return network(batch).numpy()

    return run


def deepsparse(file: str, images: Array, threads: int) -> Run:
    """DeepSparse, one request at a time on all cores."""
    os.environ["NM_DISABLE_ANALYTICS"] = "1"
    from deepsparse import Scheduler, compile_model

    engine = compile_model(
        file, batch_size=len(images), num_cores=threads, scheduler=Scheduler.single_stream
    )
    return lambda: engine.run([images])[0]


def onnxruntime(file: str, images: Array, threads: int) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: images})[0]


def openvino(file: str, images: Array, threads: int) -> Run:
    """OpenVINO on the CPU in float32 (bf16, its default where the CPU has it, is another sum)."""
    import openvino as ov

    core = ov.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    network = core.read_model(file)
    network.reshape(list(images.shape))
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    return lambda: request.infer([images], share_inputs=True)[0]


def litert(file: str, images: Array, threads: int) -> Run:
    """LiteRT with XNNPACK, which has sparse kernels for 1x1 convolutions. file: see litert_file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(file, num_threads=threads)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    found = interpreter.get_output_details()[0]["index"]
    pixels = np.ascontiguousarray(images.transpose(0, 2, 3, 1))

    def run() -> Array:
        interpreter.set_tensor(given, pixels)
        interpreter.invoke()
        return interpreter.get_tensor(found)

    return run


ENGINES = {
    engine.__name__: engine
    for engine in (reprune, torch, onnxruntime, openvino, deepsparse, litert)
}
DISTRIBUTIONS = {"litert": "ai-edge-litert"}  # where a package is not called like its engine


def main() -> None:
    parser = argparse.ArgumentParser(description="one inference engine, timed on request")
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("network", help="ONNX file; for reprune a saved network, for torch weights")
    parser.add_argument("images", help=".npy file, float32 (N,C,H,W)")
    parser.add_argument("outputs", help=".npy file to write")
    parser.add_argument("--threads", type=int, required=True)
    chosen = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what engines print goes where messages go
    run = ENGINES[chosen.engine](chosen.network, np.load(chosen.images), chosen.threads)
    np.save(chosen.outputs, run())
    version = importlib.metadata.version(DISTRIBUTIONS.get(chosen.engine, chosen.engine))
    print(json.dumps({"engine": chosen.engine, "version": version}), file=answers)
    for line in sys.stdin:
        print(json.dumps(timed(run, int(line))), file=answers)


def timed(run: Run, passes: int) -> list[float]:
    """Milliseconds of each pass, the first after untimed ones."""
    warm = time.perf_counter() + WARM_S
    run()
    while time.perf_counter() < warm:
        run()
    taken = []
    for _ in range(passes):
        start = time.perf_counter()
        run()
        taken.append(1e3 * (time.perf_counter() - start))
    return taken


if __name__ == "__main__":
    main()
