"""Small files that a stranger, a broken disk or an attacker could hand over, made by code."""

from __future__ import annotations

import io
import json
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from tests.checkpoints.conftest import saved

State = dict[str, Tensor]
NASTY = "x\x1b]0;evil\x07\x1b[31m\nbench: fake"


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def torch_zip(pickled: bytes) -> bytes:
    return zipped({"a/data.pkl": pickled, "a/byteorder": b"little", "a/data/0": bytes(4)})


def npz(header: str, data: bytes = b"", method: int = zipfile.ZIP_STORED) -> bytes:
    line = header.encode() + b"\n"
    member = b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + data
    return zipped({"a.npy": member}, method)


def npy_header(shape: str) -> str:
    return f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"


def flagged(data: bytes, local: int, central: int, value: int) -> bytes:
    """A zip with a 16-bit field changed: at `local` in the header, at `central` in the directory"""
    changed = bytearray(data)
    for mark, place in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        changed[data.index(mark) + place : data.index(mark) + place + 2] = struct.pack("<H", value)
    return bytes(changed)


def h5(fill: Callable[[Any], None], config: object = '{"config": {"layers": []}}') -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["model_config"] = config
        fill(file.create_group("model_weights"))
    return buffer.getvalue()


def fill_bomb(group: Any) -> None:
    for number in range(12):
        group.create_dataset(f"d{number}/k:0", (2**29,), "f4", fillvalue=1.0, chunks=(2**20,))


def packed_bomb(group: Any) -> None:
    """Two by two numbers, whose packed bytes unfold into 100 MB."""
    made = group.create_dataset("d/k:0", (2, 2), "f4", chunks=(2, 2), compression="gzip")
    made.id.write_direct_chunk((0, 0), zlib.compress(bytes(100_000_000)))


def h5_graph(**layer: object) -> str:
    dense = {"class_name": "Dense", "config": {"name": "d"}, "inbound_nodes": []}
    return json.dumps({"config": {"layers": [{**dense, **layer}]}})


def doubled_tuples(levels: int) -> bytes:
    """A dict whose key is a tuple of two tuples of two tuples of ...: hashing it takes 2^levels."""
    doubling = b"h\x00h\x00\x86q\x00" * levels
    return b"\x80\x02})q\x00" + doubling + b"K\x01s."


def nested_lists(levels: int) -> bytes:
    return b"\x80\x02" + b"]" * levels + b"a" * (levels - 1) + b"."


def renamed_storage(state: State, kind: str) -> bytes:
    """`state` whose storages claim to be of another kind."""
    data = pickle_of(state)
    return data.replace(b"ctorch\nFloatStorage\n", f"ctorch\n{kind}\n".encode())


def pickle_of(state: State) -> bytes:
    with zipfile.ZipFile(io.BytesIO(saved(state))) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
        return archive.read(name)


def quantised(state: State) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held = {
            n: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8) if v.ndim > 1 else v
            for n, v in state.items()
        }
        return saved(held)


def with_claim(state: State, claim: bytes) -> bytes:
    """A torch file with a float storage of one number under a tensor that says `claim` of itself"""
    start = b"\x80\x02}X\x09\x00\x00\x00fc.weightctorch._utils\n_rebuild_tensor_v2\n("
    held = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    return torch_zip(start + held + b"K\x01tQK\x00" + claim + b"\x89N" + b"tRs.")


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def about(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def sparse(state: State, indices: list[list[int]], values: int) -> bytes:
    with torch.sparse.check_sparse_tensor_invariants(False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bad = torch.sparse_coo_tensor(torch.tensor(indices), torch.ones(values), (10, 32))
    return saved({**state, "fc.weight": bad})


def sparse_zeros(side: int) -> Tensor:
    """A square of zeros that takes no room in a file."""
    with torch.sparse.check_sparse_tensor_invariants(False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = torch.zeros(2, 1, dtype=torch.int64)
        return torch.sparse_coo_tensor(one, torch.ones(1), (side, side))


def huge_shape(*sizes: int) -> bytes:
    """The pickled shape, then as many strides of one."""
    shape = b"".join(b"\x8a\x08" + struct.pack("<q", size) for size in sizes)
    return b"(" + shape + b"t(" + b"K\x01" * len(sizes) + b"t"


def refused(state: State) -> dict[str, tuple[str, bytes]]:
    """Name -> (format of the entry, the file); `state` is what the network would take."""
    small = {name: value for name, value in state.items() if value.is_floating_point()}
    good = saved(state)
    packed = zipped({"a.npy": npz(npy_header("(1,)"), bytes(4))})
    at = good.index(state["fc.bias"].numpy().tobytes())
    flipped = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
    repeated = {f"w{i}": torch.zeros(1).expand(500, 1000, 1000) for i in range(12)}
    infinite = {**state, "fc.bias": torch.full_like(state["fc.bias"], float("nan"))}
    one = {"a": about([1], 0, 4), "b": about([1], 0, 4)}
    giant = sparse_zeros(30_000)
    plain = {
        "sparse mask of another size": saved({**state, "fc.weight_mask": giant}),
        "nothing of a huge shape": with_claim(state, huge_shape(0, 2**47, 2**47)),
        "safetensors, header of 17 MB": safetensors(b'{"a":[' + b"[]," * 6_000_000 + b"[]]}"),
        "quantised": quantised(state),
        "float4": saved({**state, "fc.bias": torch.zeros(4, dtype=torch.float4_e2m1fn_x2)}),
        "bits8": torch_zip(renamed_storage(small, "Bits8Storage")),
        "qint8 storage": torch_zip(renamed_storage(small, "QInt8Storage")),
        "meta": saved({n: v.to("meta") for n, v in state.items()}),
        "stride 0": saved(repeated),
        "overlapping": with_claim(state, b"(M\x10\x27M\x10\x27t(K\x01K\x01t"),
        "negative size": with_claim(state, b"(J\xff\xff\xff\xfft(K\x01t"),
        "size of 600 digits": with_claim(state, b"(\x8a\xfa" + b"\x7f" * 250 + b"t(K\x01t"),
        "size is a text": with_claim(state, b"(X\x01\x00\x00\x00at(K\x01t"),
        "doubled tuples as a key": torch_zip(doubled_tuples(60)),
        "nested lists": torch_zip(nested_lists(200_000)),
        "list that holds itself": torch_zip(b"\x80\x02]q\x00h\x00a."),
        "text longer than the file": torch_zip(b"\x80\x02X\xff\xff\xff\x7fabc."),
        "nothing on the stack": torch_zip(b"\x80\x02."),
        "extension registry": torch_zip(b"\x80\x02\x82\x01."),
        "wrong checksum": flipped,
        "two archives": zipped({"x": b"x"}) + good,
        "comment behind the directory": good[:-2] + b"\x03\x00abc",
        "two pickles": zipped({"a/data.pkl": b"x", "b/data.pkl": b"x"}),
        "names with escapes": saved({**state, NASTY: torch.ones(2)}),
        "NaN": saved(infinite),
        "index outside": sparse(state, [[0, 10], [0, 0]], 2),
        "negative index": sparse(state, [[0, -1], [0, 0]], 2),
        "legacy, cut off": saved(state, legacy=True)[:-9],
        "legacy, storage too long": saved(state, legacy=True).replace(
            struct.pack("<q", 320), struct.pack("<q", 2**60), 1
        ),
        "overlapping safetensors": safetensors(one, bytes(4)),
        "safetensors with a hole": safetensors({"a": about([1], 4, 8)}, bytes(8)),
        "safetensors of negative size": safetensors({"a": about([-1], 0, 4)}, bytes(4)),
        "safetensors of huge size": safetensors({"a": about([2**40, 2**40], 0, 4)}, bytes(4)),
        "safetensors with a name twice": safetensors(b'{"a":{},"a":{}}'),
        "safetensors, nested": safetensors(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "safetensors, float8": safetensors({"a": about([4], 0, 4, "F8_E4M3")}, bytes(4)),
        "safetensors, unknown type": safetensors({"a": about([4], 0, 4, "X")}, bytes(4)),
        "safetensors with escapes": save({NASTY: torch.ones(2)}),
    }
    paper = {
        "str, classifier of no dimension": ("str", saved({"fc.weight": torch.tensor(1.0)})),
        "str, sparse": ("str", saved({"fc.weight": torch.ones(2, 2).to_sparse()})),
        "rd, mask on meta": (
            "rd",
            saved({"c.weight_orig": torch.ones(2), "c.weight_mask": torch.ones(2, device="meta")}),
        ),
        "acdc, larger than it can be": (
            "acdc",
            saved({f"w{i}": torch.zeros(2**20) for i in range(3)}),
        ),
    }
    arrays = {
        "npz, packed by bzip2": npz(npy_header("(1,)"), bytes(4), zipfile.ZIP_BZIP2),
        "npz, encrypted": flagged(npz(npy_header("(1,)"), bytes(4)), 6, 8, 1),
        "npz, unknown method": flagged(npz(npy_header("(1,)"), bytes(4)), 8, 10, 1),
        "npz, nested parentheses": npz("(" * 200 + ")" * 200),
        "npz, a thousand signs": npz("-" * 9000 + "1"),
        "npz, shape too long": npz(npy_header(f"({'9' * 5000},)")),
        "npz, huge claim": npz(npy_header("(1000000000000,)"), bytes(8)),
        "npz, none of huge": npz(npy_header(f"(0, {10**19})")),
        "npz, 70 dimensions": npz(npy_header(f"({'1, ' * 70})"), bytes(4)),
        "npz, float of a byte": npz(npy_header("(1,)").replace("<f4", "<f1"), bytes(1)),
        "npz, bool of 8 bytes": npz(npy_header("(1,)").replace("<f4", "<b8"), bytes(8)),
        "npz, objects": npz(npy_header("(1,)").replace("<f4", "|O"), pickle.dumps(1)),
        "npz, whole numbers": zipped({"a.npy": npy(np.arange(3))}),
        "npz inside npz": packed,
        "npz, unfolds": npz(npy_header("(30000000,)"), bytes(120_000_000), zipfile.ZIP_DEFLATED),
    }
    return (
        {name: ("plain", data) for name, data in plain.items()}
        | paper
        | {name: ("keras-npz", data) for name, data in arrays.items()}
    )


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def refused_h5() -> dict[str, bytes]:
    """Files for an entry of format keras-h5."""
    return {
        "a chunk unfolds": h5(packed_bomb, h5_graph()),
        "fill values unfold": h5(fill_bomb),
        "config is an array": h5(lambda group: None, np.arange(3)),
        "config is a number": h5(lambda group: None, "3"),
        "config is nested": h5(lambda group: None, "[" * 60_000),
        "graph without inputs": h5(lambda group: None, h5_graph(class_name="BatchNormalization")),
        "layers without names": h5(lambda group: None, h5_graph(config={})),
        "weights of whole numbers": h5(
            lambda group: group.create_dataset("d/kernel:0", (2, 2), "i4"), h5_graph()
        ),
        "cut off": h5(fill_bomb)[:-700],
    }
