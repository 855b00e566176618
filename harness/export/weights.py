"""Weights handed out: published ones or those of finished runs, in the form somebody else reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from harness import sparse
from harness.checkpoints import load_into, load_model
from harness.errors import CheckpointUnavailable, ProtocolError
from harness.evaluation import checkpoint_facts
from harness.export.libraries import library_state
from harness.export.onnx import write_onnx
from harness.models import build
from harness.registry import Entry, data_set, make_method
from harness.results import CheckpointFacts, Result, Run, load_entry
from harness.system import Options, sha256_file
from harness.training import RunFolder, finished_run
from methods.base import Method, Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Weights:
    """One network ready to be handed out.

    tensors: plain names, gates of a dynamic network beside them. network: in eval mode, on the CPU.
    """

    name: str  # entry id, or the user's name for a run
    where: str  # which of several networks of that name: source or seed and epoch
    method: str
    model: str
    dataset: str
    dynamic: bool
    tensors: Mapping[str, Tensor]
    network: nn.Module
    stated: Mapping[str, float]  # what papers' files say beside the weights
    maker: Method | None  # the method that trained it, here
    facts: CheckpointFacts | None  # about the file they came in; None = drawn at random

    @property
    def classes(self) -> int:
        return data_set(self.dataset).classes

    @property
    def channels(self) -> int:
        return data_set(self.dataset).channels


def published(entry: Entry, options: Options) -> Weights:
    """The published weights of `entry`. Raises CheckpointError."""
    network, obtained = load_model(entry, options)
    return Weights(
        name=entry.id,
        where=f"published, {obtained.source}, sha256 {obtained.sha256[:12]}",
        method=entry.method,
        model=entry.model,
        dataset=entry.dataset,
        dynamic=entry.granularity == "dynamic",
        tensors=load_file(obtained.path),
        network=network.cpu(),
        stated={},
        maker=None,
        facts=checkpoint_facts(obtained),
    )


def trained(result: Result, seed: int = 0, epoch: str = "last") -> Weights:
    """The weights of one seed of a trained `result`; epoch: "last", or "best" if it was kept.

    Raises CheckpointUnavailable if run or epoch are gone.
    """
    run = _seed_of(result, seed)
    folder = _folder_of(result, run)
    file = folder.weights if epoch == "last" else folder.best
    if not file.exists():
        msg = f"{result.entry} seed {seed}: the {epoch} epoch's weights were not kept"
        raise CheckpointUnavailable(f"{msg}. Recipes with `selects: best` keep the best ones")
    method = make_method(result.method, result.settings)
    shape = data_set(result.dataset)
    network = build(result.model, num_classes=shape.classes, in_channels=shape.channels)
    if method.kind == "dynamic":
        method.attach(network, Schedule(epochs=0, steps_per_epoch=0))
    tensors = folder.read_weights(file)
    load_into(network, tensors, result.entry)
    return Weights(
        name=result.entry,
        where=f"seed {seed}, {epoch} epoch of {result.result_id}",
        method=result.method,
        model=result.model,
        dataset=result.dataset,
        dynamic=method.kind == "dynamic",
        tensors=tensors,
        network=network.eval(),
        stated=_stated(run, epoch),
        maker=method,
        facts=CheckpointFacts(
            sha256=sha256_file(file),
            source=f"run:{result.entry}/seed{seed}",
            format="safetensors",
            size_bytes=file.stat().st_size,
            license="local",
        ),
    )


def last_trained(entry_id: str, aliases: Mapping[str, str]) -> Result:
    """The newest stored result of `entry_id` that was trained here. aliases: see `Registry`."""
    found = [each for each in load_entry(entry_id, aliases) if each.mode != "evaluated"]
    if not found:
        msg = f"{entry_id}: no training result is stored, so there are no weights to hand out"
        raise CheckpointUnavailable(f"{msg}. Train it: bench reproduce {entry_id} --mode train")
    return found[-1]


def export(
    weights: Weights, target: Path, form: str, about: Mapping[str, str], shape: Shape
) -> str:
    """Write `weights` to `target`; how the file is read. form: one of FORMS.

    about: facts for the metadata of safetensors and ONNX files, see `about_network`. shape: (C,H,W)
    of the pictures that the network is evaluated with. Raises ProtocolError, with nothing written,
    if the weights do not have that form.
    """
    return FORMS[form](weights, target, about, shape)


def _safetensors(weights: Weights, target: Path, about: Mapping[str, str], shape: Shape) -> str:
    save_tensors(weights.tensors, target, about)
    return "safetensors.torch.load_file(FILE)"


def save_tensors(tensors: Mapping[str, Tensor], target: Path, about: Mapping[str, str]) -> None:
    """Write a safetensors file, the same bytes for the same content. about: its metadata."""
    whole = {name: value.contiguous() for name, value in tensors.items()}
    written = save(whole, metadata={"format": "pt", **about})  # the hub's tools look for format
    target.write_bytes(_in_order(written))


def _in_order(written: bytes) -> bytes:
    """A safetensors file whose metadata, which the library shuffles, stand in alphabetical order"""
    end = 8 + int.from_bytes(written[:8], "little")
    header = json.loads(written[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers behind it are aligned
    return len(text).to_bytes(8, "little") + text + written[end:]


def _paper(weights: Weights, target: Path, about: Mapping[str, str], shape: Shape) -> str:
    if weights.maker is None:
        msg = f"{weights.name}: its published file is in the paper's layout already"
        raise ProtocolError(f"{msg}. Other forms: {', '.join(FORMS)}")
    try:
        content = weights.maker.export_published(weights.maker.finalize(weights.network))
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"{weights.name}: {error}. Try: --to safetensors") from error
    torch.save({**weights.stated, **content}, target)
    return "as the paper's code reads it"


def _for_library(library: str) -> Form:
    def write(weights: Weights, target: Path, about: Mapping[str, str], shape: Shape) -> str:
        if weights.dynamic:
            msg = f"{weights.name}: its gates choose filters image by image"
            raise ProtocolError(f"{msg}; {library} has no such network. Try: --to safetensors")
        state, made_by = library_state(
            weights.network, library, weights.model, weights.classes, weights.channels
        )
        if target.suffix == ".safetensors":
            save_tensors(state, target, about)
            return f"{made_by}.load_state_dict(safetensors.torch.load_file(FILE))"
        torch.save(state, target)
        return f"{made_by}.load_state_dict(torch.load(FILE, weights_only=True))"

    return write


def _onnx(weights: Weights, target: Path, about: Mapping[str, str], shape: Shape) -> str:
    network = weights.network
    if weights.maker is not None and weights.dynamic:
        network = weights.maker.finalize(network)
    write_onnx(network, weights.model, shape, target, about)
    return "onnxruntime.InferenceSession(FILE), input `images` (N, C, H, W), normalised"


def _sparse(weights: Weights, target: Path, about: Mapping[str, str], shape: Shape) -> str:
    network = sparse.compile(weights.network, torch.zeros(1, *shape), slower="keep")
    assert isinstance(network, sparse.CompiledNetwork), "weights to hand out are on the CPU"
    network.save(target)
    return "harness.sparse.load(FILE), fastest on this machine; images (N, C, H, W), normalised"


Form = Callable[[Weights, Path, "Mapping[str, str]", Shape], str]
FORMS: dict[str, Form] = {
    "safetensors": _safetensors,
    "torchvision": _for_library("torchvision"),
    "timm": _for_library("timm"),
    "onnx": _onnx,
    "sparse": _sparse,
    "paper": _paper,
}


def _stated(run: Run, epoch: str) -> dict[str, float]:
    """What papers' files say beside the weights; accuracies are percent on the test set."""
    best, last = run.best_top1_pct, run.counts.top1_pct
    chosen = run.best_epoch if epoch == "best" else int(run.epochs) - 1
    return {
        "epoch": 0 if chosen is None else chosen,
        "acc": best if epoch == "best" and best is not None else last,
        "best_acc": last if best is None else best,
    }


def _seed_of(result: Result, seed: int) -> Run:
    for run in result.runs:
        if run.seed == seed:
            return run
    known = ", ".join(str(run.seed) for run in result.runs)
    raise CheckpointUnavailable(f"{result.entry}: no seed {seed} in its result; seeds: {known}")


def _folder_of(result: Result, run: Run) -> RunFolder:
    """The folder whose finished run is the recorded one, of whichever entry trained it."""
    folder = finished_run(run)
    if folder is not None:
        return folder
    msg = f"{result.entry} seed {run.seed}: the folder of this run is not here"
    raise CheckpointUnavailable(f"{msg}. Repeat the training command to make it again")
