"""A sweep of 24 trainings on a Ray cluster of three nodes of this machine, and what it survives.

    python -m tests.launch.cluster_sweep [--into reports/launch.md]

The command dies at a quarter and is repeated; then a node dies at three fifths. Every result has to
be there once, with the weights of a sweep that ran undisturbed in one process. Needs the extra
`cluster`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

from benchmarks.pages import put_between

WAIT_S = 600
NODE = {"num_cpus": 1, "memory": 2**32}


def command(*where: str) -> list[str]:
    """The sweep: methods x levels x learning rates, one seed, a few epochs of the digits."""
    grid = ["--method", "gmp,acdc", "--model", "convnet_tiny", "--dataset", "digits"]
    grid += [
        "--set",
        "settings.sparsity=0.5,0.6,0.7,0.8,0.9,0.95",
        "--set",
        "optimizer.lr=0.1,0.05",
    ]
    grid += ["--set", "epochs=6", "--name", "cluster", "--memory", "0.5", "--device", "cpu"]
    return [sys.executable, "-m", "cli", "sweep", *grid, "--no-tracking", "--json", *where]


def run(words: list[str], home: Path) -> float:
    """Run the command in `home` to its end; the seconds it took."""
    began = time.perf_counter()
    environment = {**os.environ, "BENCH_HOME": str(home)}
    subprocess.run(words, env=environment, check=True, capture_output=True, timeout=3 * WAIT_S)
    return time.perf_counter() - began


def run_and(
    words: list[str],
    home: Path,
    moment: Callable[[], bool],
    then: Callable[[subprocess.Popen], None],
) -> float:
    """Begin the command, do `then` to it at `moment`, wait for its end; the seconds it took."""
    began = time.perf_counter()
    environment = {**os.environ, "BENCH_HOME": str(home)}
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not moment() and process.poll() is None:
            if time.perf_counter() > began + WAIT_S:
                raise SystemExit(f"{words} stood still for {WAIT_S} s")
            time.sleep(0.02)
        then(process)
        process.wait(WAIT_S)
    return time.perf_counter() - began


def weights(home: Path) -> dict[str, bytes]:
    """Run folder -> bytes of its final weights."""
    found = home.glob("runs/*/*/weights.safetensors")
    return {file.parent.relative_to(home).as_posix(): file.read_bytes() for file in found}


def results(home: Path) -> list[Path]:
    """Every stored result."""
    return sorted(home.glob("reports/results/*/*.json"))


def main() -> None:
    """Run it all and print, or write, the lines."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, help="Page between whose launch markers they go.")
    options = parser.parse_args()
    import ray.cluster_utils

    with tempfile.TemporaryDirectory() as folder:
        inline, home = Path(folder) / "inline", Path(folder) / "ray"
        alone_s = run(command("--executor", "inline"), inline)
        count = len(results(inline))
        cluster = ray.cluster_utils.Cluster(initialize_head=True, head_node_args=NODE)
        nodes = [cluster.add_node(**NODE) for _ in range(3)]
        words = command("--executor", "ray", "--address", str(cluster.address))

        def stored(share: float) -> Callable[[], bool]:
            return lambda: len(results(home)) >= share * count

        run_and(words, home, stored(0.25), lambda process: process.kill())
        after_command = len(results(home))
        again_s = run_and(
            words, home, stored(0.6), lambda _: cluster.remove_node(nodes[0], allow_graceful=False)
        )
        cluster.shutdown()
        same = weights(home) == weights(inline)
        entries = {file.parent.name for file in results(home)}
        whole = same and len(entries) == len(results(home)) == count
        lines = [
            f"- {count} trainings in one process, undisturbed: {alone_s:.0f} s.",
            f"- Ray, {len(nodes) + 1} nodes of one CPU on {os.cpu_count()} CPUs: the command was "
            f"killed with {after_command} results stored and repeated; then a node was removed.",
            f"- The command repeated: {again_s:.0f} s; {len(results(home))} results of "
            f"{len(entries)} entries; weights equal to the undisturbed ones: {same}.",
        ]
    text = "\n".join(lines)
    print(text)
    if options.into is not None:
        put_between(options.into, "launch", text)
    if not whole:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
