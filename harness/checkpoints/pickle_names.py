"""The names a pickle may use, and the harmless thing that each stands for here.

Nothing is looked up or called in Python: a name outside this list is refused, and one inside it
becomes a claim, a number, a dict, or an object that does nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.checkpoints import claimed_tensors
from harness.checkpoints.claimed_tensors import Claim, Storage


@dataclass(frozen=True, slots=True)
class Name:
    """A global of the file, as text only."""

    name: str


@dataclass(slots=True, eq=False)
class Inert:
    """An object that the file describes: class name, arguments and state, and no behaviour."""

    name: str
    args: tuple[Any, ...]
    state: Any = None


MAX_ARGUMENTS = 64
MAX_NUMBER_BYTES = 16
_TENSORS = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
_NUMBER = re.compile(r"[<>|=]?[biuf][1248]")
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "QUInt8Storage": torch.quint8,
    "QInt8Storage": torch.qint8,
    "QInt32Storage": torch.qint32,
    "QUInt4x2Storage": torch.quint4x2,
    "QUInt2x4Storage": torch.quint2x4,
}
_SCHEMES = frozenset(  # of quantisation
    {f"torch.per_{what}_affine" for what in ("tensor", "channel")}
    | {"torch.per_tensor_symmetric", "torch.per_channel_symmetric"}
    | {"torch.per_channel_affine_float_qparams"}
)
_DTYPES = {str(t): t for t in vars(torch).values() if isinstance(t, torch.dtype)}


def storage(described: Any) -> Storage:
    """The storage that a persistent id describes. Raises ValueError for any other id."""
    match described:
        case ("storage", Name(kind), str() | int() as key, str(), int(count), *view) if (
            len(view) < 2
        ):
            module, _, leaf = kind.rpartition(".")
        case _:
            raise ValueError("a persistent id that is no storage")
    if module not in ("torch", "torch.cuda", "torch.storage"):
        raise ValueError(f"a storage of kind {kind}")
    dtype = None if leaf == "UntypedStorage" else _STORAGES[leaf]
    whole = Storage(str(key), dtype, claimed_tensors.naturals((count,))[0])
    if not view or view[0] is None:
        return whole
    _, start, count = view[0]
    start, count = claimed_tensors.naturals((start, count))
    return Storage(whole.key, dtype, count, start)


def _tensor(stored: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Claim:
    if stored.dtype is None:
        raise ValueError("a tensor on bytes says no dtype")
    return claimed_tensors.dense_claim(stored, stored.dtype, offset, shape, stride)


def _typed_tensor(
    stored: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    gradient: Any,
    hooks: Any,
    dtype: Name,
    *_: Any,
) -> Claim:
    return claimed_tensors.dense_claim(
        Storage(stored.key, None, _byte_count(stored)), _DTYPES[dtype.name], offset, shape, stride
    )


def _byte_count(stored: Storage) -> int:
    return stored.count if stored.dtype is None else stored.count * stored.dtype.itemsize


def _sparse(layout: Any, data: Any) -> Claim:
    parts, shape = [part for part in data if isinstance(part, claimed_tensors.DenseClaim)], None
    if layout == claimed_tensors.COO and len(parts) == 2:
        shape = claimed_tensors.sizes(data[2])
        shapes = (len(parts[0].shape) == 2, len(shape) - parts[0].shape[0])
        fits = shapes == (True, len(parts[1].shape) - 1)
    else:
        shape = claimed_tensors.sizes(data[3])
        fits = len(parts) == 3 and len(shape) == 2 and len(parts[2].shape) in (1, 3)
        fits = fits and layout in (*claimed_tensors.COMPRESSED, *claimed_tensors.TRANSPOSED)
    if not fits or any(part.dtype != torch.int64 for part in parts[:-1]):
        return claimed_tensors.Unreadable("sparse, of a layout or type that is not known")
    return claimed_tensors.SparseClaim(layout, shape, tuple(parts))


def _subclass(make: Name, kind: Name, args: Any, *_: Any) -> Any:
    if kind.name not in _TENSORS:
        return claimed_tensors.Unreadable(f"tensor subclass ({kind.name})")
    return made(make, args)


def _scalar(dtype: Inert, data: Any = b"") -> int | float | bool | Inert:
    """A NumPy scalar, from its dtype and its bytes; texts and dates do not matter."""
    code = dtype.args[0]
    if not isinstance(code, str) or not _NUMBER.fullmatch(code) or len(data) > MAX_NUMBER_BYTES:
        return Inert("numpy scalar", ())
    big = isinstance(dtype.state, tuple) and dtype.state[1:2] == (">",)
    raw = data.encode("latin-1") if isinstance(data, str) else bytes(data)
    number = np.frombuffer(raw, np.dtype(code).newbyteorder(">" if big else "<"))[0]
    return number.item()


def _unreadable(kind: str) -> Callable[..., Claim]:
    return lambda *_, **__: claimed_tensors.Unreadable(kind)


def _first(value: Any = None, *_: Any) -> Any:
    """The argument itself: copies of one list could add up to any size."""
    return value


def _dict(items: Any = None) -> dict[Any, Any]:
    if items is None:
        return {}
    if isinstance(items, list):  # of pairs, as Python 2 wrote an OrderedDict
        pairs = {key_of(key): value for key, value in items}
        items.clear()  # they move: copies of one list could add up to any size
        return pairs
    if not isinstance(items, dict):
        raise ValueError("a dict that is made of something else")
    return items


_MEANINGS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._utils._rebuild_device_tensor_from_numpy": _unreadable("device-only"),
    "torch._utils._rebuild_qtensor": _unreadable("quantised"),
    "torch._utils._rebuild_meta_tensor_no_storage": _unreadable("meta (without numbers)"),
    "torch._utils._rebuild_wrapper_subclass": _unreadable("tensor subclass"),
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.serialization._get_layout": _first,
    "torch.Size": _first,
    "builtins.set": _first,
    "builtins.frozenset": _first,
    "_codecs.encode": _first,  # text that stands for bytes
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "collections.defaultdict": lambda factory=None, items=None: _dict(items),
    "numpy.core.multiarray.scalar": _scalar,  # NumPy 1
    "numpy._core.multiarray.scalar": _scalar,  # NumPy 2
}
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
_RANDOM = ("__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor")
_SEEDS = ("SeedSequence", "__pyx_unpickle_SeedSequence")
_INERT = frozenset(
    {"torch.Tensor", "torch.device", "torch.nn.parameter.Buffer", "argparse.Namespace"}
    | {"types.SimpleNamespace", "copyreg._reconstructor", "numpy.ndarray", "numpy.dtype"}
    | {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}
    | {f"numpy.random._pickle.{name}" for name in _RANDOM}
    | {f"numpy.random._{name.lower()}.{name}" for name in ("MT19937", "PCG64", "Philox", "SFC64")}
    | {f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS}
    | {f"builtins.{name}" for name in ("int", "float", "str", "bool", "list", "dict", "tuple")}
    | {f"numpy.random.bit_generator.{name}" for name in _SEEDS}
    | {"builtins.bytearray", "builtins.complex", "builtins.object", "builtins.slice"}
    | {"torch.storage.UntypedStorage", *_SCHEMES}
    | {f"{torch_}.{name}" for torch_ in ("torch", "torch.cuda") for name in _STORAGES}
    | {f"numpy.dtypes.{np.dtype(code).__class__.__name__}" for code in "?bhilBHILefdFDUSM"}
    | set(_DTYPES)
)


def allowed(name: str, also: frozenset[str]) -> bool:
    """Whether a file may use the global `name`. also: names that its format adds."""
    return name in _MEANINGS or name in _INERT or name in also


def made(called: Any, args: Any) -> Any:
    """What calling the global `called` stands for. Raises ValueError for nonsense."""
    if not isinstance(called, Name) or not isinstance(args, tuple) or len(args) > MAX_ARGUMENTS:
        raise ValueError("something that is no class is called")
    meaning = _MEANINGS.get(called.name)
    if meaning is not None:
        return meaning(*args)
    if called.name == "copyreg._reconstructor" and args and isinstance(args[0], Name):
        return Inert(args[0].name, ())
    return Inert(called.name, args)


def key_of(value: Any) -> Any:
    """`value` as a dict's key. Raises ValueError where hashing it has no bound."""
    flat = value if isinstance(value, tuple) else (value,)
    if len(flat) > MAX_ARGUMENTS or not all(map(_is_plain, flat)):
        raise ValueError("a key that is a nested container, or a number without end")
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, int):
        return abs(value) < 2**64
    return value is None or isinstance(value, str | float | bytes)
