"""Files as others save them: each is read to the same numbers, or refused with the reason."""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune

from harness.checkpoints import convert, obtain
from harness.checkpoints.state_dicts import AVERAGES, WRAPPERS
from harness.errors import CheckpointError, KeyMismatch, NotACheckpoint
from harness.models import build
from harness.results import load_all
from harness.system import Reading
from tests.checkpoints.conftest import make_entry, saved
from tests.commands.conftest import Bench, bench, document

__all__ = ["bench"]  # a fixture

State = dict[str, Tensor]
LEGACY = pytest.param(True, marks=pytest.mark.slow)
PREFIXES = (
    *("", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module."),
    *("model.", "net.", "backbone.", "0.", "module.model.", "net.0._orig_mod."),
)


def weights() -> State:
    torch.manual_seed(1)
    return dict(build("convnet_tiny").state_dict())


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


def averaged(state: State) -> State:
    return {n: v + 1 if v.is_floating_point() else v for n, v in state.items()}


def same(found: State, wanted: State) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("wrapper", [*WRAPPERS, *AVERAGES, "anything", "model.state_dict", "0.1"])
@pytest.mark.parametrize(
    "legacy",
    [pytest.param(False, id="zip"), pytest.param(True, id="legacy", marks=pytest.mark.slow)],
)
def test_every_wrapper_with_every_prefix(tmp_path: Path, wrapper: str, legacy: bool) -> None:
    for prefix in PREFIXES:
        content: Any = prefixed(weights(), prefix)
        for part in reversed(wrapper.split(".")):
            content = ["other", content] if part == "1" else {part: content}
        content = [content["0"]] if wrapper == "0.1" else {"epoch": 3, **content}
        (tmp_path / "f").write_bytes(saved(content, legacy))
        made = convert(tmp_path / "f", weights())
        same(made.tensors, weights())
        assert made.stated == ({} if wrapper == "0.1" else {"epoch": 3})


def test_the_first_of_several_is_taken_and_the_others_are_named(tmp_path: Path) -> None:
    both = {"state_dict_ema": averaged(weights()), "state_dict": weights()}
    (tmp_path / "f").write_bytes(saved(both))
    made = convert(tmp_path / "f", weights())
    same(made.tensors, weights())
    told = "weights of 'state_dict' taken; it also holds 'state_dict_ema' (--weights-key KEY)"
    assert made.notes == (told,)
    chosen = convert(tmp_path / "f", weights(), Reading(weights_key="state_dict_ema"))
    same(chosen.tensors, averaged(weights()))
    with pytest.raises(NotACheckpoint, match="no weights under 'ema'; it has 'state_dict', 'stat"):
        convert(tmp_path / "f", weights(), Reading(weights_key="ema"))


def test_what_does_not_fit_is_passed_over(tmp_path: Path) -> None:
    teacher = {"conv1.weight": torch.ones(3), "conv9.weight": torch.ones(3)}
    content = {"model": teacher, "optimizer": {"state": {0: {"m": torch.ones(2)}}}, "n": weights()}
    (tmp_path / "f").write_bytes(saved(content))
    same(convert(tmp_path / "f", weights()).tensors, weights())


EXTRAS: dict[str, Any] = {
    "total_ops": torch.zeros(1, dtype=torch.float64),
    "conv1.total_params": torch.zeros(1),
    "n_averaged": torch.tensor(5),
    "normalize.mean": torch.ones(3),
    "normalize.std": torch.ones(3),
    "epoch": 7,
    "args": argparse.Namespace(lr=0.1),
}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", EXTRAS)
def test_known_extras_are_dropped_with_a_note(tmp_path: Path, name: str, prefix: str) -> None:
    content = {name: EXTRAS[name], **prefixed(weights(), prefix)}
    (tmp_path / "f").write_bytes(saved(content))
    made = convert(tmp_path / "f", weights())
    same(made.tensors, weights())
    assert made.notes == (f"not part of the network, dropped: {name}",)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "coo": lambda t: t.to_sparse(),
    "coo, hybrid": lambda t: t.to_sparse(1) if t.ndim else t.to_sparse(),
    "csr": lambda t: t.to_sparse_csr() if t.ndim == 2 else t,
    "csc": lambda t: t.to_sparse_csc() if t.ndim == 2 else t,
    "bsr": lambda t: t.to_sparse_bsr((2, 4)) if t.ndim == 2 else t,
    "bsc": lambda t: t.to_sparse_bsc((2, 4)) if t.ndim == 2 else t,
    "uncoalesced": lambda t: torch.sparse_coo_tensor(
        torch.zeros(t.ndim, 2, dtype=torch.int64),
        torch.tensor([0.25, 0.5]),
        t.shape,
        check_invariants=True,
    ),
}


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sparse_layouts_are_filled_in(tmp_path: Path, layout: str) -> None:
    state = weights()
    state["fc.weight"][::2] = 0
    state["conv2.weight"][:, 1] = 0
    sparse = {n: LAYOUTS[layout](v) if n.endswith(".weight") else v for n, v in state.items()}
    (tmp_path / "f").write_bytes(saved(sparse))
    made = convert(tmp_path / "f", weights())
    same(made.tensors, {name: value.to_dense() for name, value in sparse.items()})
    count = sum(value.layout != torch.strided for value in sparse.values())
    told = "1 tensor" if count == 1 else f"{count} tensors"
    assert made.notes == (f"{told} in a sparse layout filled in",)


def test_pairs_of_prune_are_multiplied(tmp_path: Path) -> None:
    network = nn.TransformerEncoderLayer(8, 2, 16)
    parts = [
        (network.self_attn, "in_proj_weight"),
        (network.self_attn, "in_proj_bias"),
        (network.linear1, "weight"),
        (network.linear1, "bias"),
    ]
    wanted = network.state_dict()
    for module, name in parts:
        prune.random_unstructured(module, name, 0.5)
    (tmp_path / "f").write_bytes(saved({"state_dict": prefixed(network.state_dict(), "net.")}))
    made = convert(tmp_path / "f", wanted)
    assert set(made.notes) == {"prefix 'net.' removed", "4 masks multiplied in"}
    for module, name in parts:
        prune.remove(module, name)
    same(made.tensors, network.state_dict())
    assert int((made.tensors["self_attn.in_proj_weight"] == 0).sum()) == 96


def test_a_convolution_as_classifier_stays_one(tmp_path: Path) -> None:
    network = build("squeezenet1_0", num_classes=10)
    prune.l1_unstructured(network.get_submodule("classifier.1"), "weight", 0.5)
    (tmp_path / "f").write_bytes(saved(network.state_dict()))
    prune.remove(network.get_submodule("classifier.1"), "weight")
    for format_id in (None, "rd"):
        made = convert(tmp_path / "f", network.state_dict(), Reading(format_id))
        same(made.tensors, dict(network.state_dict()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_is_kept_and_its_cast_is_noted(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {n: v.to(dtype) if v.is_floating_point() else v for n, v in weights().items()}
    (tmp_path / "f").write_bytes(saved(state))
    made = convert(tmp_path / "f", weights())
    same(made.tensors, state)
    floats = sum(value.is_floating_point() for value in state.values())
    told = str(dtype).removeprefix("torch.")
    assert made.notes == (f"{told} read as float32: {floats} tensors",)


def test_layers_called_heads_are_layers(home: Path, tmp_path: Path) -> None:
    vit = torchvision.models.VisionTransformer(8, 4, 1, 2, 8, 8, num_classes=3)
    (tmp_path / "f").write_bytes(saved(vit.state_dict()))
    got = obtain(make_entry("data:f"), from_file=tmp_path / "f", model=lambda: vit)
    assert got.heads() == {}
    same(got.tensors(), dict(vit.state_dict()))


def quantised(state: State) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch will move quantisation elsewhere
        return {
            n: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8) if v.ndim > 1 else v
            for n, v in state.items()
        }


def dynamically_quantised(_: State) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torch.ao.quantization.quantize_dynamic(build("convnet_tiny"), {nn.Linear})
    return dict(network.state_dict())


class Ordered(dict[str, Any]):
    """Pickled as Python 2 pickled an OrderedDict: with one list of pairs."""

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, ([[name, value] for name, value in self.items()],)


def cast(dtype: torch.dtype) -> Callable[[State], dict[str, Any]]:
    return lambda state: {n: v.to(dtype) if v.ndim > 1 else v for n, v in state.items()}


READ: dict[str, tuple[Callable[[State], Any], str]] = {
    "bare": (lambda s: s, ""),
    "ordered": (OrderedDict, ""),
    "ordered, of Python 2": (lambda s: {"state_dict": Ordered(s), "epoch": 3}, ""),
    "wrapped, prefixed": (
        lambda s: {"net": prefixed(s, "module.model.")},
        "prefix 'model.' removed",
    ),
    "a tuple": (lambda s: (s, 3), ""),
    "a list": (lambda s: [3, s], ""),
    "two of them": (
        lambda s: {"state_dict_ema": averaged(s), "state_dict": s},
        "it also holds 'state_dict_ema'",
    ),
    "profiler buffers": (
        lambda s: {**s, "fc.total_ops": torch.zeros(1)},
        "dropped: fc.total_ops",
    ),
    "epoch beside the weights": (lambda s: {**s, "epoch": 3}, "dropped: epoch"),
    "NumPy scalar": (lambda s: {"state_dict": s, "best": np.float32(0.5)}, ""),
    "NumPy random state": (lambda s: {"state_dict": s, "r": np.random.get_state()}, ""),
    "defaultdict": (lambda s: {"state_dict": s, "log": defaultdict(list, a=[1.0])}, ""),
    "namespace and path": (
        lambda s: {"model": s, "args": argparse.Namespace(out=PurePosixPath("/a/b"))},
        "",
    ),
    "sparse": (lambda s: {n: v.to_sparse() for n, v in s.items()}, "sparse layout filled in"),
    "prune pairs": (
        lambda s: {
            **{n: v for n, v in s.items() if n != "fc.weight"},
            "fc.weight_orig": s["fc.weight"],
            "fc.weight_mask": torch.ones_like(s["fc.weight"]),
        },
        "1 mask multiplied in",
    ),
    "half": (lambda s: cast(torch.float16)(s), "float16 read as float32"),
    "double": (lambda s: cast(torch.float64)(s), "float64 read as float32"),
}
REFUSED: dict[str, tuple[Callable[[State], Any], str]] = {
    "masks under the weights' names": (cast(torch.bool), "conv1.weight is bool, the model has fl"),
    "int8": (cast(torch.int8), "conv1.weight is int8, the model has float32"),
    "int64": (cast(torch.int64), "conv1.weight is int64, the model has float32"),
    "complex": (cast(torch.complex64), "a kind that is not read: complex (complex64)"),
    "float8": (cast(torch.float8_e4m3fn), "quantised or packed (float8_e4m3fn)"),
    "quantised": (quantised, "a kind that is not read: quantised"),
    "dynamically quantised": (dynamically_quantised, "a kind that is not read: quantised"),
    "meta": (lambda s: {n: v.to("meta") for n, v in s.items()}, "not read: meta"),
    "expanded": (
        lambda s: {**s, "fc.weight": torch.zeros(1, 1).expand(10, 32)},
        "repeated (stride 0)",
    ),
    "half a pair": (
        lambda s: {"fc.weight_orig" if n == "fc.weight" else n: v for n, v in s.items()},
        "fc.weight_orig has no mask beside it",
    ),
    "masks alone": (
        lambda s: {n.replace("weight", "weight_mask"): v for n, v in s.items()},
        "7 unexpected (conv1.weight_mask",
    ),
    "of another network": (
        lambda s: build("resnet20").state_dict(),
        "Names and shapes are those of model resnet20.",
    ),
    "a network's class": (lambda s: build("convnet_tiny"), "asks for 'harness.models.convnet_t"),
    "no tensor": (lambda s: {"epoch": 3}, "no tensors in its dict"),
    "code": (lambda s: {"state_dict": s, "x": Trap()}, "nothing was executed"),
}


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("trap",)


def evaluate(bench: Bench, file: Path, *more: str) -> Any:
    start = ("eval", "--model", "convnet_tiny", "--dataset", "digits", "--weights", file)
    return bench(*start, "--limit", 4, "--no-tracking", "--json", *more)


@pytest.mark.filterwarnings("ignore:.*quantiz:DeprecationWarning")
@pytest.mark.parametrize("kind", READ)
def test_what_is_read_says_how(home: Path, tmp_path: Path, bench: Bench, kind: str) -> None:
    make, note = READ[kind]
    (tmp_path / "mine.pt").write_bytes(saved(make(weights())))
    done = evaluate(bench, tmp_path / "mine.pt")
    assert done.exit_code == 0, done.stderr
    notes = document(done)["checkpoint"]["notes"]
    assert [note in told for told in notes] == [True] * bool(note)
    assert all(f"mine.pt: {told}" in done.stderr for told in notes)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_says_why(
    home: Path, tmp_path: Path, bench: Bench, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, told = REFUSED[kind]
    (tmp_path / "mine.pt").write_bytes(saved(make(weights())))
    done = evaluate(bench, tmp_path / "mine.pt")
    assert done.exit_code == 4, done.output
    [line] = [line for line in done.stderr.splitlines() if line.startswith("bench: ")]
    assert line.startswith("bench: mine.pt: ") and told in line
    assert (list(load_all()), (tmp_path / "trap").exists()) == ([], False)


@pytest.mark.parametrize("name", ["f.bin", "f.SAFETENSORS", "f.pt", "f.safetensors"])
def test_the_name_of_a_file_means_nothing(tmp_path: Path, name: str) -> None:
    save_file(weights(), tmp_path / name)
    same(convert(tmp_path / name, weights()).tensors, weights())
    (tmp_path / name).write_bytes(saved(weights()))
    same(convert(tmp_path / name, weights()).tensors, weights())


def sharded(folder: Path) -> tuple[Path, dict[str, Any]]:
    """An index over two files, as large models come."""
    state = list(weights().items())
    parts = {f"model-0000{i + 1}-of-00002.safetensors": dict(state[i::2]) for i in range(2)}
    for name, part in parts.items():
        save_file(part, folder / name)
    places = {tensor: name for name, part in parts.items() for tensor in part}
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder / "model.safetensors.index.json", index


def test_sharded_files_are_read_through_their_index(tmp_path: Path) -> None:
    same(convert(sharded(tmp_path)[0], weights()).tensors, weights())


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("../secret", "which is no file beside it"),
        ("/etc/passwd", "which is no file beside it"),
        ("gone.safetensors", "'gone.safetensors' is missing beside"),
        ("model-00001-of-00002.safetensors", "name other tensors"),
    ],
)
def test_an_index_leads_nowhere_else(tmp_path: Path, place: str, told: str) -> None:
    path, index = sharded(tmp_path)
    path.write_text(json.dumps({"weight_map": {**index["weight_map"], "x": place}}))
    with pytest.raises(NotACheckpoint, match=told):
        convert(path, weights())


def test_misfits_name_the_network_that_fits(tmp_path: Path) -> None:
    for name, classes in (("resnet56", None), ("mobilenet_v2", 7)):
        state = build(name, num_classes=classes).state_dict()
        (tmp_path / "f").write_bytes(saved({"net": prefixed(state, "module.")}))
        told = f"those of model {name}" + (f" with {classes} classes" if classes else "")
        with pytest.raises(KeyMismatch, match=told):
            convert(tmp_path / "f", weights())


def test_formats_are_told_from_the_content(tmp_path: Path) -> None:
    acdc = {
        n.replace("fc.weight", "fc._layer.weight").replace("fc.bias", "fc._layer.bias"): v
        for n, v in weights().items()
    }
    acdc["fc._weight_mask"] = (weights()["fc.weight"] > 0).float()
    (tmp_path / "f").write_bytes(saved({"model_state_dict": prefixed(acdc, "module.")}))
    made = convert(tmp_path / "f", weights())
    assert (made.format, made.notes) == ("acdc", ("read as format 'acdc'",))
    assert torch.equal(made.tensors["fc.weight"], weights()["fc.weight"].clamp(min=0))


def test_every_refusal_is_one_line_without_control_characters(tmp_path: Path) -> None:
    state = {f"{name}\x1b[31m\n": value for name, value in weights().items()}
    (tmp_path / "f").write_bytes(saved(state))
    with pytest.raises(CheckpointError) as caught:
        convert(tmp_path / "f", weights())
    assert "\\x1b[31m\\n" in str(caught.value) and str(caught.value).isprintable()
