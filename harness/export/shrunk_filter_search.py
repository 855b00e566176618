"""Finished filter searches as physically smaller networks: made, checked, written, found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from harness import paths
from harness.checkpoints import DESCRIPTION, LAYOUT
from harness.errors import CheckpointUnavailable, MetricError, ProtocolError
from harness.models import build
from harness.profile import interleaved
from harness.registry import data_set, make_method
from harness.results import Result, Times, files, load, load_stored
from harness.training import RunFolder, RunOrigin, finished_run
from methods.base import Schedule
from methods.ipruning import EDropout, IPruning
from methods.ipruning.dead_channels import ShrunkResNet, save
from methods.ipruning.filter_layout import pack_bits

CHECKED_IMAGES = 64
TIMED_IMAGES = 50
# Float32 sums of up to 512 * 9 products in another order, over 100 layers, of logits near 10.
LARGEST_DIFFERENCE = 1e-3


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What came of shrinking one run. latency: milliseconds per image, dense, masked, shrunk."""

    entry: str
    largest_difference: float  # between logits of the masked and the shrunk network
    params_dense: int
    params_shrunk: int
    figures: dict[str, float]
    latency: dict[str, Times]
    threads: int


def finished_run_folder(what: str) -> Path:
    """The folder of a finished run: `what` itself, a stored result's, or an entry's newest one.

    what: a folder, a result (its id or file), or the name of an entry. The first seed of a result
    counts. Raises CheckpointUnavailable if there is none.
    """
    folder = Path(what)
    if (folder / "done.json").is_file():
        return folder
    stored = _stored(folder)
    if stored is not None:
        return _run_of(stored)
    runs = paths.runs_folder() / folder.name
    found = sorted(runs.glob("*/done.json"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise CheckpointUnavailable(
            f"{what}: no finished run of that name. Train one first: bench train --method edropout"
        )
    return found[-1].parent


def _stored(what: Path) -> Result | None:
    """The stored result of that file or id, or None."""
    if what.suffix == ".json" and what.is_file():
        return load(what)
    named = (file for file in files() if file.stem == what.name)
    return next((load_stored(file) for file in named), None)


def _run_of(result: Result) -> Path:
    if not result.runs:
        msg = f"{result.result_id} ({result.entry}) was not trained here, so it has no run"
        raise CheckpointUnavailable(f"{msg}. Cut its channels instead: bench shrink --channels 0.5")
    folder = finished_run(result.runs[0])
    if folder is not None:
        return folder.path
    msg = f"{result.result_id} ({result.entry}): the folder of its run is not here"
    raise CheckpointUnavailable(f"{msg}. Repeat the training command to make it again")


def shrink_filter_search(folder: Path, out: Path) -> Shrunk:
    """Shrink the network of a finished run, check it, and write it to `out`.

    `out` gets the weights, and what they are in its header; beside it <name>.state.safetensors
    gets the state as packed bits, and its layout. Raises ProtocolError for runs of methods that
    remove no filters and for networks that cannot be cut, MetricError if outputs differ.
    """
    finished = RunFolder(folder, "")
    origin = finished.origin()
    if origin is None or origin.method not in (IPruning.name, EDropout.name):
        msg = f"{folder.name}: only runs of ipruning and edropout have filters to remove"
        raise ProtocolError(msg)
    dense, method = _at_the_end(origin, finished)
    try:
        small = method.shrunk_network(dense).eval()
    except ValueError as error:
        raise ProtocolError(f"{origin.entry}: {error}") from error
    full = method.full_network(dense).eval()
    masked = method.finalize(dense).eval()
    images = _images(max(CHECKED_IMAGES, TIMED_IMAGES), origin.input_shape)
    difference = _difference(masked, small, images[:CHECKED_IMAGES])
    ways = {"dense": full, "masked": masked, "shrunk": small}
    latency = interleaved(ways, list(images[:TIMED_IMAGES].split(1)))
    _write(small, method, out)
    return Shrunk(
        entry=origin.entry,
        largest_difference=difference,
        params_dense=sum(p.numel() for p in full.parameters()),
        params_shrunk=sum(p.numel() for p in small.parameters()),
        figures={k: float(v) for k, v in method.figures(masked, [images[:1]]).items()},
        latency=latency,
        threads=torch.get_num_threads(),
    )


def _at_the_end(origin: RunOrigin, folder: RunFolder) -> tuple[nn.Module, IPruning | EDropout]:
    """The unmasked network after the last step and its method, with the state that it found."""
    model = build(origin.model, data_set(origin.dataset).classes, origin.input_shape[0])
    method = make_method(origin.method, {**origin.settings, "network": "pruned"})
    assert isinstance(method, IPruning | EDropout), "checked by name"
    method.attach(model, Schedule(1, 1))
    end = folder.load_end()
    with folder.restoring("end.pt"):
        model.load_state_dict(end["model"])
        method.load_state_dict(end["method"])
    return model.eval(), method


def _images(count: int, shape: tuple[int, ...]) -> Tensor:
    """Normal noise (count,C,H,W), as normalised pictures are; the same every time."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def _difference(masked: nn.Module, small: nn.Module, images: Tensor) -> float:
    found = float((masked(images) - small(images)).abs().max())
    if not found <= LARGEST_DIFFERENCE:
        msg = (
            f"shrunk and masked network differ by {found:g} (at most {LARGEST_DIFFERENCE:g} comes "
            "from rounding); nothing was written. Please report the run's settings"
        )
        raise MetricError(msg)
    return found


def _write(small: ShrunkResNet, method: IPruning | EDropout, out: Path) -> None:
    from safetensors.torch import save_file

    weights, description = save(small)
    packed = {name: tensor.contiguous() for name, tensor in weights.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(packed, out, metadata={DESCRIPTION: description})
    bits = {"state": pack_bits(method.final_state())}
    save_file(bits, filter_state_file(out), metadata={LAYOUT: method.layout.to_json()})


def filter_state_file(out: Path) -> Path:
    """Where the packed state of the network in `out` lies."""
    return out.with_name(f"{out.stem}.state.safetensors")
