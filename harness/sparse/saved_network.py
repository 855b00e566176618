"""A compiled network in one file: its operations, weights without their zeros, and its plan.

Layout: a safetensors file whose metadata hold the operations and the plan as JSON, then its sha256
in a line. A plan is a measurement: on another machine, with other threads or versions it is made
again.
"""

from __future__ import annotations

import json
import struct
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from harness.errors import DamagedFile, ProtocolError, StateWarning
from harness.sparse.compile_plan import SPARSE, CompilePlan, LayerPlan, NetworkChoice, NetworkTimes
from harness.sparse.form_choice import GivenLayer
from harness.sparse.operation_graph import Convolution, Linear, OperationGraph
from harness.sparse.stored_graph import Reader, Writer
from harness.system import provenance, read_sealed, write_sealed

VERSION = 1
_FAULTS = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, struct.error
)  # fmt: skip
KEY = "reprune.sparse"


def write_network(network: OperationGraph | None, plan: CompilePlan, target: Path) -> None:
    """Write the file, whole or not at all.

    Raises ProtocolError for a network that runs another way than sparse, and for operations that
    have no name in such files.
    """
    if network is None or plan.network.way != SPARSE:
        msg = f"only what runs sparse is saved, and this network {plan.network}"
        raise ProtocolError(f'{msg}. Save the model itself, or compile it with slower="keep"')
    writer = Writer()
    about = {
        "version": VERSION,
        "machine": machine(),
        "plan": json.loads(plan.to_json()),
        "graph": writer.graph(network),
    }
    Reader(writer.tensors).graph(json.loads(json.dumps(about["graph"])))  # what is read is written
    write_sealed(target, save_tensors(writer.tensors, {KEY: json.dumps(about)}))


def read_network(source: Path) -> tuple[OperationGraph, CompilePlan, list[str]]:
    """The network, its plan, and what of the machine is not as it was when the plan was made.

    Raises DamagedFile for anything but a whole file of this version; nothing in it is executed.
    """
    try:
        content = read_sealed(source)
        tensors, about = _parts(content)
        graph = Reader(tensors).graph(about["graph"])
        return graph, _plan(about["plan"]), _differences(about["machine"])
    except FileNotFoundError:
        raise ProtocolError(
            f"{source.name}: no such file. Write it with network.save(path)"
        ) from None
    except (*_FAULTS, SafetensorError) as error:
        raise _damaged(source, error) from error


def planned_layers(network: OperationGraph, plan: CompilePlan) -> dict[str, GivenLayer]:
    """Operation -> what its layer was in the model, as the plan knows it."""
    layers = [op for op in network.operations if isinstance(op, Convolution | Linear)]
    return {
        op.name: GivenLayer(layer.shape, layer.macs_dense)
        for op, layer in zip(layers, plan.layers, strict=True)
    }


def machine() -> dict[str, Any]:
    """What a plan was measured with."""
    return {
        "cpu": provenance.hardware("cpu")["cpu"],
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "llvmlite": find_spec("llvmlite") is not None,
        "torch": torch.__version__,
        "reprune": provenance.versions().get("reprune", ""),
    }


def say_measured_again(source: Path, differences: list[str]) -> None:
    """A StateWarning: the plan in the file is not one of this machine."""
    said = "; ".join(differences)
    warnings.warn(
        f"{source.name}: the plan was made elsewhere ({said}): every layer was measured again. "
        "network.save(path) keeps the new plan",
        StateWarning,
        stacklevel=3,
    )


def _parts(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a safetensors file, and what its metadata say."""
    (length,) = struct.unpack_from("<Q", content)
    about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][KEY])
    if about["version"] != VERSION:
        raise ValueError(f"version {about['version']} instead of {VERSION}")
    return load_tensors(content), about


def _plan(stored: dict[str, Any]) -> CompilePlan:
    layers = [LayerPlan(**{**layer, "shape": tuple(layer["shape"])}) for layer in stored["layers"]]
    sizes = {name: name.split("x") for name in stored["rows_per_block"]}
    rows = {(int(h), int(w)): stored["rows_per_block"][name] for name, (h, w) in sizes.items()}
    network = stored["network"]
    times = {way: NetworkTimes(**ms) for way, ms in network["ms"].items()}
    choice = NetworkChoice(**{**network, "ms": times})
    return CompilePlan(tuple(layers), rows, stored["threads"], choice, stored.get("bands", 1))


def _differences(then: dict[str, Any]) -> list[str]:
    now = machine()
    return [f"{key} {then.get(key)}, here {now[key]}" for key in now if then.get(key) != now[key]]


def _damaged(source: Path, error: Exception) -> DamagedFile:
    said = (str(error) or type(error).__name__).splitlines()[0][:120]
    return DamagedFile(
        f"{source.name}: no saved sparse network of this version: {said}. Compile the model again "
        "and save it: harness.sparse.compile(model, example).save(path)"
    )
