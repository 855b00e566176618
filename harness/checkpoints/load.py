"""Readers that turn an untrusted file into containers and arrays and execute nothing."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from harness.checkpoints.sniffing import MAX_UNPACKED_BYTES, Kind, sniff
from harness.errors import CheckpointUnavailable, NotACheckpoint, UnsafePickle
from methods.published_formats import WRAPPERS

Allowed = tuple[tuple[Any, str], ...]  # (what a global becomes, its dotted name in the file)


class _Placeholder:
    """Stands in for an optimizer or scheduler class a file names; never has behaviour."""


def _numpy_scalars() -> Allowed:
    scalar = np.float64(0).__reduce__()[0]  # the private function every NumPy scalar names
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")  # NumPy 1, NumPy 2
    float64 = type(np.dtype("float64"))
    dtypes = ((np.dtype, "numpy.dtype"), (float64, f"{float64.__module__}.{float64.__name__}"))
    return (*((scalar, name) for name in names), *dtypes)


# Learning rates were saved as NumPy float64, so both papers' files name these globals.
NUMPY_SCALARS: Allowed = _numpy_scalars()
ACDC_GLOBALS: Allowed = (
    *NUMPY_SCALARS,
    (type("SGD", (_Placeholder,), {}), "optimization.sgd.SGD"),
    (type("CosineLR", (_Placeholder,), {}), "optimization.lr_schedulers.CosineLR"),
    (type("ExponentialLR", (_Placeholder,), {}), "torch.optim.lr_scheduler.ExponentialLR"),
)


def read_torch(path: Path, allowed: Allowed = ()) -> Any:
    """What torch.save wrote, zip or legacy container: tensors on the CPU, containers, numbers.

    allowed: the only globals accepted beside torch's own tensor types.
    Raises UnsafePickle naming the first other global, NotACheckpoint if the file is damaged.
    """
    mapped = sniff(path) is Kind.TORCH_ZIP  # legacy containers cannot be memory-mapped
    try:
        with torch.serialization.safe_globals([*allowed]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise _refused(str(error)) from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise NotACheckpoint(_damaged(error)) from error


def read_npz(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays of an npz archive by name. Object arrays are refused, sizes are checked first."""
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    arrays[member.filename.removesuffix(".npy")] = _read_npy(file, member)
    except (zipfile.BadZipFile, ValueError, EOFError, SyntaxError) as error:
        raise NotACheckpoint(_damaged(error)) from error
    return arrays


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name, on the CPU."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise NotACheckpoint(_damaged(error)) from error


def read_bytes(path: Path) -> bytes:
    """The file as it is."""
    return path.read_bytes()


def read_h5(path: Path) -> dict[str, Any]:
    """{"config": Keras' model_config, "weights": layer -> weight name -> array} of an HDF5 model.

    Raises CheckpointUnavailable if h5py is not installed, NotACheckpoint if the file is damaged,
    is no Keras model, or refers to data outside itself.
    """
    try:
        import h5py
    except ImportError as error:
        msg = "reading HDF5 needs h5py: pip install 'reprune[keras]'."
        raise CheckpointUnavailable(msg) from error
    weights: dict[str, dict[str, np.ndarray[Any, Any]]] = {}

    def keep(name: str, node: Any) -> None:  # visititems follows no link that leaves the file
        if not isinstance(node, h5py.Dataset):
            return
        if node.external or node.is_virtual or node.nbytes > MAX_UNPACKED_BYTES:
            raise ValueError(f"dataset {name} lies outside the file or is too large")
        layer, _, rest = name.partition("/")
        weights.setdefault(layer, {})[rest.rpartition("/")[2].partition(":")[0]] = node[()]

    try:
        with h5py.File(path, "r") as file:
            config = json.loads(file.attrs["model_config"])
            file["model_weights"].visititems(keep)
    except (KeyError, OSError, ValueError, RuntimeError) as error:
        raise NotACheckpoint(_damaged(error)) from error
    return {"config": config, "weights": weights}


def published_inside(raw: Any) -> dict[str, int | float | str]:
    """What the file says about itself beside weights: epoch, best accuracy, architecture."""
    if not isinstance(raw, Mapping) or not any(isinstance(raw.get(k), Mapping) for k in WRAPPERS):
        return {}  # a bare state dict says nothing
    facts: dict[str, int | float | str] = {}
    for key, value in raw.items():
        if isinstance(value, np.generic) or (isinstance(value, Tensor) and value.ndim == 0):
            value = value.item()
        if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 100):
            facts[str(key)] = value
        elif isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
            facts |= {f"{key}.{k}": v for k, v in value.items()}
    return facts


def _read_npy(file: Any, member: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    """One array, read by hand: np.load would allocate whatever the header claims."""
    version = npy.read_magic(file)
    header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if header is None:
        raise ValueError(f"array {member.filename}: npy version {version} is not known")
    shape, fortran, dtype = header(file)
    if dtype.hasobject:
        raise ValueError(f"array {member.filename} holds Python objects (a pickle); not opened")
    data = file.read()
    array = np.frombuffer(data, dtype=dtype)
    if array.size != np.prod(shape, dtype=object):
        raise ValueError(f"array {member.filename}: {array.size} values for shape {shape}")
    return array.reshape(shape, order="F" if fortran else "C").copy()


def _refused(message: str) -> UnsafePickle | NotACheckpoint:
    named = re.search(r"GLOBAL (\S+)", message) or re.search(
        r"function (.+?)(?: which|\.?$)", message
    )
    if named is None:
        first = message.partition("WeightsUnpickler error:")[2].strip() or message
        return NotACheckpoint(f"file is a damaged pickle: {first.splitlines()[0][:200]}.")
    msg = (
        f"file asks for {named[1]!r}, which is outside the allow-list of its format. "
        "A checkpoint needs no code of its own; this one was not opened and nothing was executed."
    )
    return UnsafePickle(msg)


def _damaged(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0][:200]
    return f"file is damaged or cut off ({type(error).__name__}: {first})."
