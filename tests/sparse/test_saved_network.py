"""A saved network starts again as it was, elsewhere is measured again, and damage is one line."""

from __future__ import annotations

import json
import operator
import struct
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from harness import sparse
from harness.errors import DamagedFile, ProtocolError, StateWarning
from harness.sparse import saved_network
from harness.sparse.compile_plan import NetworkChoice
from harness.sparse.stored_graph import Reader, Writer
from harness.sparse.tracing import copied, trace
from harness.system import read_sealed, write_sealed
from tests.sparse.pruned import images, pruned


class Mixed(nn.Module):
    """Sums, joins, a norm of its own, tokens, attention and functions that are kept as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6())
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pool, self.act = nn.MaxPool2d(3, 1, 1), nn.GELU()
        self.norm, self.lone = nn.LayerNorm(8), nn.BatchNorm2d(8)
        self.qkv, self.head = nn.Linear(8, 24), nn.Linear(8, 5)
        self.scale = nn.Parameter(torch.full((1, 1, 8), 0.5))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:  # as timm's transformers, whose default torch.fx asserts
            x = x * mask
        torch._assert(x.shape[2] % 4 == 0, "the picture has to fit")  # as timm checks it
        x = self.stem(x)
        x = torch.cat([self.act(self.deep(x)) + x, self.lone(self.pool(x))], 1)[:, 4:12]
        tokens = self.norm(x.flatten(2).transpose(1, 2)) * self.scale
        q, k, v = self.qkv(tokens).chunk(3, dim=-1)
        tokens = tokens + F.scaled_dot_product_attention(q, k, v)
        return self.head(F.dropout(tokens.mean(1), 0.1, training=False))


@pytest.fixture(scope="module")
def fast() -> sparse.CompiledNetwork:
    return sparse.compile(pruned(Mixed(), 0.4), images(1, 3, 16, 16), slower="keep")


@pytest.fixture
def file(fast: sparse.CompiledNetwork, tmp_path: Path) -> Path:
    fast.save(tmp_path / "net.sparse")
    return tmp_path / "net.sparse"


def test_a_loaded_network_gives_the_very_same_bits(
    fast: sparse.CompiledNetwork, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.sparse.form_choice.milliseconds", None)  # nothing is measured
    again = sparse.load(file)
    batch = images(3, 3, 16, 16)
    assert torch.equal(again(batch), fast(batch))
    assert again.plan == fast.plan
    again.save(file.with_name("twice"))
    assert file.with_name("twice").read_bytes() == file.read_bytes()


def test_zeros_take_one_bit(tmp_path: Path) -> None:
    model = pruned(nn.Sequential(nn.Conv2d(64, 64, 3), nn.Flatten()), 0.05, empty_filters=0)
    sparse.compile(model, images(1, 64, 4, 4), only=["dense"]).save(tmp_path / "net")
    nnz = int(model[0].weight.count_nonzero())  # type: ignore[union-attr, operator]
    assert 4 * nnz + 64 * 64 * 9 / 8 < (tmp_path / "net").stat().st_size < 4 * nnz + 10_000


@pytest.mark.parametrize(
    ("key", "value"), [("cpu", "Z80"), ("threads", 77), ("torch", "1.0"), ("instructions", "MMX")]
)
def test_a_plan_from_elsewhere_is_measured_again_and_that_is_said(
    key: str,
    value: object,
    fast: sparse.CompiledNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = saved_network.machine()
    with monkeypatch.context() as there:
        there.setattr(saved_network, "machine", lambda: here | {key: value})
        fast.save(tmp_path / "net")
    asked = []
    for module in ("form_choice", "planes.choice", "planes.program"):
        monkeypatch.setattr(
            f"harness.sparse.{module}.milliseconds", lambda run: asked.append(run) or 1
        )
    with pytest.warns(StateWarning, match=f"net: .*{key} {value}, here .*measured again"):
        again = sparse.load(tmp_path / "net")
    assert asked and {ms for layer in again.plan.layers for ms in layer.ms.values()} == {1}
    assert [layer.macs_dense for layer in again.plan.layers] == [
        layer.macs_dense for layer in fast.plan.layers
    ]


@pytest.mark.parametrize("place", [0, 9, 200, -500, -5])
def test_one_changed_byte_is_one_line(place: int, file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises(DamagedFile, match=r"^net.sparse: no saved .*Compile the model again"):
        sparse.load(file)


@pytest.mark.parametrize("length", [0, 7, 100, 5000])
def test_a_cut_file_is_one_line(length: int, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(DamagedFile, match="cut off"):
        sparse.load(file)


def test_no_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="net: no such file"):
        sparse.load(tmp_path / "net")


def forged(file: Path, change: dict[str, object]) -> None:
    """The file with other operations, sealed anew as whoever forges one would."""
    content = read_sealed(file)
    (length,) = struct.unpack_from("<Q", content)
    about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["reprune.sparse"])
    about["graph"]["operations"][0] = change
    write_sealed(file, save_tensors({"0": torch.ones(1)}, {"reprune.sparse": json.dumps(about)}))


def called(target: object, *arguments: object) -> dict[str, object]:
    given = {"tuple": [*arguments]}
    stored = {"name": "a", "target": target, "arguments": given, "keywords": {"dict": []}}
    return {"kind": "Untouched", **stored, "references": {"list": []}}


@pytest.mark.parametrize(
    "change",
    [
        called({"function": "os.system"}, "true"),
        called({"function": "torch.load"}, "net"),
        called({"method": "__reduce__"}, {"value": "x"}),
        called({"method": "apply_"}, {"value": "x"}),
        called({"layer": ["Module", {"dict": []}, {}]}),
        called({"part": ["Callable", {}]}),
        called({"part": ["redirect", {}]}),
        {"kind": "Popen"},
        {"kind": "Untouched"},
        {},
    ],
    ids=str,
)
def test_names_that_are_not_listed_are_refused(change: dict[str, object], file: Path) -> None:
    forged(file, change)
    with pytest.raises(DamagedFile, match=r"^net.sparse: no saved sparse network"):
        sparse.load(file)


def test_attributes_are_those_of_tensors() -> None:
    read = Reader({}).value({"attribute": None})
    assert read(torch.zeros(2, 3), "shape") == (2, 3)
    for owner, name in ((torch.zeros(1), "__class__"), ("text", "shape")):
        with pytest.raises(ValueError, match="not among those"):
            read(owner, name)


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 1) * 2


def test_what_has_no_name_in_such_files_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    network = sparse.compile(Odd(), images(1, 4), slower="keep")
    with pytest.raises(ProtocolError, match="calls cumsum, which has no name"):
        network.save(tmp_path / "net")
    eager = sparse.compile(Odd(), images(1, 4), slower="keep")
    eager.plan = sparse.CompilePlan((), {}, 1, NetworkChoice("eager"))
    with pytest.raises(ProtocolError, match="only what runs sparse is saved, and this .* eager"):
        eager.save(tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_every_argument_kind_comes_back() -> None:
    writer = Writer()
    values = (None, True, 3, 0.1, float("inf"), "text", slice(1, None), ..., [1, (2,)], torch.int64)
    stored = json.loads(json.dumps([writer.value(value) for value in values]))
    reader = Reader(writer.tensors)
    assert [reader.value(value) for value in stored] == list(values)


def test_a_graph_keeps_one_reference_per_argument() -> None:
    network = trace(copied(Mixed()), images(1, 3, 16, 16))
    writer = Writer()
    again = Reader(writer.tensors).graph(json.loads(json.dumps(writer.graph(network))))
    assert [op.inputs for op in again.operations] == [op.inputs for op in network.operations]


def test_checks_of_shapes_are_no_operations() -> None:
    network = trace(copied(Mixed()), images(1, 3, 16, 16))
    called = {getattr(op, "target", None) for op in network.operations}
    assert not called & {torch._assert, operator.eq, operator.mod}
