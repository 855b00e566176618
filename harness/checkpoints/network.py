"""An entry's or a user's file, to a network with its weights in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.checkpoints import Obtained, load_into, obtain
from harness.errors import CheckpointError, CheckpointUnavailable, KeyMismatch
from harness.models import build, require_size
from harness.registry import Entry, Evaluation, data_set, input_shape, make_method
from harness.results import CheckpointFacts
from harness.system import Options, Progress, Reading, Silent

if TYPE_CHECKING:
    from torch import Tensor, nn

    from methods.base import Method


def read_weights(
    path: Path,
    reading: Reading | None = None,
    network: nn.Module | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Tensor], CheckpointFacts]:
    """Tensors of a user's file, read as safely as a published one, and the facts about it.

    network: what the tensors must fit. progress: is told what was chosen, left out or cast.
    Raises CheckpointError: not there, not a checkpoint,
    unsafe, of another network.
    """
    from harness.checkpoints.conversion import convert
    from harness.checkpoints.hashed_copies import copied
    from harness.checkpoints.wording import shown

    if not path.is_file():
        raise CheckpointUnavailable(f"{path}: no such file. Give a state dict: --weights FILE")
    name = shown(path.name)
    try:
        with copied(path) as copy:
            made = convert(copy.path, None if network is None else network.state_dict(), reading)
    except CheckpointError as error:
        raise type(error)(f"{name}: {error}") from error
    for note in made.notes:
        (progress or Silent()).note(f"{name}: {note}")
    facts = CheckpointFacts(
        sha256=copy.sha256,
        source=f"file:{name}",
        format=made.format,
        size_bytes=copy.size_bytes,
        license="local",
        stated=dict(made.stated),
        notes=made.notes,
    )
    return made.tensors, facts


def measuring_method(entry: Entry) -> Method | None:
    """The method of a dynamic entry, whose figures zeros do not tell; None for all others."""
    if entry.granularity != "dynamic":
        return None
    return make_method(entry.method, entry.settings)


def build_model(entry: Entry, evaluation: Evaluation | None = None) -> nn.Module:
    """The entry's network with fresh weights, for its data set's classes and channels.

    Raises ProtocolError if it cannot take the pictures of `evaluation`.
    """
    shape = data_set(entry.dataset)
    model = build(entry.model, num_classes=shape.classes, in_channels=shape.channels)
    if evaluation is not None:
        require_size(model, entry.model, input_shape(evaluation))
    return model


def load_model(entry: Entry, options: Options) -> tuple[nn.Module, Obtained]:
    """The entry's network with its published weights, in eval mode, and where they came from.

    A dynamic entry's has its gates, from the same file.
    Raises CheckpointError (unavailable, wrong bytes, unsafe, keys that do not fit).
    """
    obtained = obtain_checkpoint(entry, options)
    return model_from(entry, obtained).to(options.device), obtained


def obtain_together(
    entries: Iterable[Entry], options: Options
) -> Iterator[tuple[Entry, Obtained | CheckpointError]]:
    """Each entry with its checkpoint, or with why it could not be had: one does not stop others."""
    for entry in entries:
        try:
            yield entry, _obtained(entry, options)
        except CheckpointError as error:
            yield entry, error


def obtain_checkpoint(entry: Entry, options: Options) -> Obtained:
    """The entry's verified and converted file, which fits its network. Raises CheckpointError."""
    options.progress.stage(f"{entry.id}: checkpoint")
    return _obtained(entry, options)


def _obtained(entry: Entry, options: Options) -> Obtained:
    return obtain(
        entry,
        from_file=options.from_file,
        data_root=options.data_root,
        offline=options.offline,
        progress=options.progress,
        reading=options.reading,
        model=partial(build_model, entry),
    )


def model_from(entry: Entry, obtained: Obtained) -> nn.Module:
    """The entry's network with these weights, in eval mode, on the CPU. Raises KeyMismatch."""
    model = build_model(entry)
    load_into(model, obtained.tensors(), entry.id)
    method = measuring_method(entry)
    if method is not None:
        try:
            model = method.add_published(model, obtained.heads())
        except ValueError as error:
            raise KeyMismatch(f"{entry.id}: {error}") from error
    return model.eval()
