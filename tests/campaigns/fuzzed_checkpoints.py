"""Checkpoints of every container with bytes changed, also inside of checksums that hold."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import numpy as np
from safetensors.torch import save

from harness.checkpoints import convert
from harness.errors import CheckpointError
from harness.system import Reading
from tests.campaigns.campaign import Trial, campaign
from tests.campaigns.nonsense import garbled_bytes
from tests.checkpoints import hostile
from tests.checkpoints.conftest import saved
from tests.checkpoints.test_hostile_files import state


@campaign(count=20_000, sample=100)
def fuzzed_checkpoints(trial: Trial) -> Iterator[str]:
    """torch, legacy, safetensors, npz and HDF5 files with bytes changed, inside of good checksums
    too: tensors of the names, shapes and finite values that the network needs, or one line.
    """
    wanted = state()
    made = containers(wanted)
    file = trial.folder / "f"
    for _ in range(trial.count):
        kind, format_id = trial.rng.choice(sorted(made))
        data = made[kind, format_id]
        if kind.startswith("inside"):
            data = hostile.torch_zip(garbled_bytes(trial.rng, data))
        else:
            data = garbled_bytes(trial.rng, data)
        file.write_bytes(data)
        network = wanted if format_id == "plain" else None
        try:
            read = convert(file, network, Reading(trial.rng.choice((format_id, None)))).tensors
        except CheckpointError as error:
            line = str(error)
            told = "" if line.isprintable() and len(line) < 1000 else f"no good line {line[:200]!r}"
        except Exception as error:  # what the campaign is after
            told = f"{type(error).__name__}: {str(error)[:200]}"
        else:
            told = _misfit(read, network)
        yield told and f"{kind}, {format_id}: {told}; the file in hex: {data.hex()[:4000]}"


def _misfit(read: hostile.State, network: hostile.State | None) -> str:
    if network is not None and {n: v.shape for n, v in read.items()} != {
        n: v.shape for n, v in network.items()
    }:
        return "other names or shapes than the network's"
    if not all(bool(v.isfinite().all()) for v in read.values() if v.is_floating_point()):
        return "weights that are not finite"
    return ""


def containers(wanted: hostile.State) -> dict[tuple[str, str], bytes]:
    """(container, format) -> a good file, or the pickle inside of one."""
    small = {name: value for name, value in wanted.items() if value.numel() < 400}
    whole = {"state_dict": wanted, "epoch": 3, "args": {"lr": 0.1, "name": "x"}}
    arrays = io.BytesIO()
    np.savez(arrays, a=np.ones((2, 3), np.float32), b=np.zeros(4, np.float32))
    found = {
        ("zip", "plain"): saved(whole),
        ("legacy", "plain"): saved(whole, legacy=True),
        ("safetensors", "plain"): save(wanted),
        ("inside a zip", "plain"): hostile.pickle_of(wanted),
        ("inside a zip", "acdc"): _pickle({"model_state_dict": small, "epoch": 3}),
        ("inside a zip", "str"): _pickle({"state_dict": small}),
        ("inside a zip", "rd"): _pickle({"c.weight_orig": small["conv1.weight"]}),
        ("npz", "keras-npz"): arrays.getvalue(),
    }
    try:
        found["HDF5", "keras-h5"] = hostile.h5(
            lambda group: group.create_dataset("d/kernel:0", (2, 2), "f4"), hostile.h5_graph()
        )
    except ImportError:  # the extra `keras` is not installed
        pass
    return found


def _pickle(content: object) -> bytes:
    with zipfile.ZipFile(io.BytesIO(saved(content))) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
        return archive.read(name)
