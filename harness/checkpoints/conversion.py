"""A file's content under the names of a network: the part that fits is found by comparing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.checkpoints import safe_readers, safetensors_files, state_dicts
from harness.checkpoints.archive import unpacked_limit
from harness.checkpoints.claimed_tensors import (
    Claim,
    Readable,
    SparseClaim,
    Unreadable,
    numel,
    tensor_of,
)
from harness.checkpoints.facts_in_files import published_inside
from harness.checkpoints.file_formats import PLAIN, get, without_heads
from harness.checkpoints.lookalikes import lookalike
from harness.checkpoints.safe_readers import Content
from harness.checkpoints.sniffing import Kind, require, sniff
from harness.checkpoints.state_dicts import Candidate
from harness.checkpoints.strict_load import Shaped, casts, misfit
from harness.checkpoints.wording import counted, shown, spelled
from harness.errors import CheckpointError, KeyMismatch, NotACheckpoint
from harness.system import Reading
from methods import published_formats as published

# Masks, scores and copies beside the weights, in multiples of what the network itself has.
MOST_TIMES, MOST_MORE = 4, 2**20
MOST_NOTED = 300  # characters
BYTES_EACH = 8  # of the widest number
_READERS = {
    Kind.TORCH_ZIP: safe_readers.read_torch_zip,
    Kind.TORCH_LEGACY: safe_readers.read_torch_legacy,
    Kind.SAFETENSORS: safetensors_files.read_safetensors,
    Kind.SHARDED: safetensors_files.read_sharded,
}
_ARRAYS = {
    Kind.NPZ: safe_readers.read_npz,
    Kind.HDF5: safe_readers.read_h5,
    Kind.BINARY: safe_readers.read_bytes,
}
# What a file of unknown format is tried as, in this order; a gated FTWT file needs its entry.
_TRIED = {
    **dict.fromkeys(_READERS, ("plain", "acdc", "str", "rd", "efficientnet-lite0")),
    Kind.NPZ: ("keras-npz",),
    Kind.HDF5: ("keras-h5", "keras-h5-chain"),
    Kind.BINARY: ("squeezenet-net",),
}


class Misfit(KeyMismatch):
    """Tensors of another network, which are kept to find out of which."""

    def __init__(self, difference: str, tensors: Mapping[str, Shaped]) -> None:
        super().__init__(difference)
        self.tensors = tensors


@dataclass(frozen=True, slots=True)
class Converted:
    """tensors: plain names, each owning its memory, contiguous, dtypes as in the file.

    stated: what the file says about itself. notes: what was chosen, left out, filled in or cast.
    """

    tensors: dict[str, Tensor]
    format: str
    stated: dict[str, int | float | str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def convert(
    path: Path,
    wanted: Mapping[str, Tensor] | None = None,
    reading: Reading | None = None,
) -> Converted:
    """The state dict in a checkpoint file, under plain names.

    wanted: the state dict of the network, possibly on the meta device; claims are held against it
    before anything is allocated, and what does not fit is refused. reading: format and part of the
    file; where it says None, what fits is found. Raises UnsafePickle, NotACheckpoint, KeyMismatch.
    """
    reading = reading or Reading()
    try:
        return _converted(path, wanted, reading.weights_format, reading.weights_key)
    except Misfit as error:
        raise KeyMismatch(f"{error} {lookalike(error.tensors)}".rstrip()) from error


def _converted(
    path: Path, wanted: Mapping[str, Tensor] | None, format_id: str | None, key: str | None
) -> Converted:
    kind = sniff(path) if format_id is None else require(path, get(format_id).kinds, format_id)
    formats = _TRIED[kind] if format_id is None else (format_id,)
    if wanted is None:
        formats = formats[:1]
    if kind not in _READERS:
        if key is not None:
            raise NotACheckpoint(f"file is {kind}; it has no part called {key!r}.")
        raw = _ARRAYS[kind](path, BYTES_EACH * _limit(path, wanted))
        return _first_of_arrays(raw, formats, wanted)
    also = frozenset().union(*(get(name).also for name in formats))
    content = _READERS[kind](path, also)
    found = state_dicts.candidates(content.value)
    if not found:
        what = type(content.value).__name__
        raise NotACheckpoint(f"file does not hold format {formats[0]!r}: no tensors in its {what}.")
    limit = _limit(path, wanted)
    if key is not None:
        found = [state_dicts.named(found, key)]
    return _first_fitting(content, found, formats, wanted, limit)


def _limit(path: Path, wanted: Mapping[str, Tensor] | None) -> int:
    """Numbers that all tensors of a state dict may have together."""
    if wanted is None:
        return unpacked_limit(path.stat().st_size) // BYTES_EACH
    return MOST_TIMES * sum(value.numel() for value in wanted.values()) + MOST_MORE


def _first_fitting(
    content: Content,
    found: list[Candidate],
    formats: tuple[str, ...],
    wanted: Mapping[str, Tensor] | None,
    limit: int,
) -> Converted:
    failed: list[tuple[int, CheckpointError]] = []
    for format_id in formats:
        for candidate in found if wanted is not None else found[:1]:
            try:
                made = _attempt(content, candidate, format_id, wanted, limit)
            except CheckpointError as error:
                failed.append((_in_common(candidate, wanted), error))
                continue
            notes = [*_choice(candidate, found, made, formats), *made.notes]
            stated = published_inside(content, candidate.key)
            return replace(
                made, stated=stated, notes=tuple(shown(note, MOST_NOTED) for note in notes)
            )
    best = max(score for score, _ in failed)
    raise next(error for score, error in failed if score == best)


def _in_common(candidate: Candidate, wanted: Mapping[str, Tensor] | None) -> int:
    plain, _ = state_dicts.unwrapped(candidate, wanted or (), every=False)
    return len(plain.keys() & (wanted or {}).keys())


def _choice(
    candidate: Candidate, found: list[Candidate], made: Converted, formats: tuple[str, ...]
) -> Iterable[str]:
    """Notes about what else could have been read."""
    same = len(candidate.claims)
    others = [one.key for one in found if one is not candidate and len(one.claims) >= same]
    if others:
        taken = f"weights of {candidate.key or 'the file itself'!r} taken"
        yield f"{taken}; it also holds {', '.join(map(repr, others[:3]))} (--weights-key KEY)"
    if len(formats) > 1 and made.format not in PLAIN:
        yield f"read as format {made.format!r}"


def _attempt(
    content: Content,
    candidate: Candidate,
    format_id: str,
    wanted: Mapping[str, Tensor] | None,
    limit: int,
) -> Converted:
    own = wanted or {}
    plain = format_id in PLAIN
    named, notes = state_dicts.unwrapped(candidate, own, every=not plain)
    claims = _readable(named)
    if plain and wanted is not None:  # before anything is allocated
        _require_fit(wanted, _folded(claims, own))
    _require_size(claims, limit)  # masks too, which the network does not have
    notes += _filled_in(claims)
    tensors = {n: tensor_of(c, content.data) for n, c in claims.items()}
    try:
        if plain:
            whole, tensors = len(tensors), published.pruned(tensors, own)
            masks = whole - len(tensors)
            notes += [f"{counted(masks, 'mask')} multiplied in"] * bool(masks)
        tensors = get(format_id).convert(tensors)
    except published.ShapesDiffer as error:
        raise KeyMismatch(f"{error}.") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError) as error:
        raise NotACheckpoint(_not_of(format_id, error)) from error
    return _finished(tensors, format_id, wanted, notes)


def _readable(claims: Mapping[str, Claim]) -> dict[str, Readable]:
    """`claims`, if all are of kinds that weights are of."""
    readable: dict[str, Readable] = {}
    for name, claim in claims.items():
        if isinstance(claim, Unreadable):
            msg = f"{shown(name)} is a tensor of a kind that is not read: {claim.kind}"
            raise NotACheckpoint(f"{msg}. Save dense floating-point weights.")
        readable[name] = claim
    return readable


def _require_size(claims: Mapping[str, Readable], limit: int) -> None:
    size = sum(map(numel, claims.values()))
    if size > limit:
        msg = f"file claims {size:,} numbers, at most {limit:,} are accepted here"
        raise NotACheckpoint(f"{msg}; none of them was read.")


def _folded(claims: Mapping[str, Readable], own: Mapping[str, Tensor]) -> dict[str, Any]:
    """Claims under the names that they have once their masks are multiplied in."""
    pairs = {n for n in claims if n.endswith("_orig") and n not in own}
    masked = (*(n.removesuffix("_orig") for n in pairs), *claims)
    masks = {f"{name}_mask" for name in masked} - set(own)
    return {
        (name.removesuffix("_orig") if name in pairs else name): claim
        for name, claim in claims.items()
        if name not in masks
    }


def _filled_in(claims: Mapping[str, Readable]) -> list[str]:
    count = sum(isinstance(claim, SparseClaim) for claim in claims.values())
    return [f"{counted(count, 'tensor')} in a sparse layout filled in"] if count else []


def _first_of_arrays(
    raw: Any, formats: tuple[str, ...], wanted: Mapping[str, Tensor] | None
) -> Converted:
    """The first format that the arrays have and that fits; else why the last one does not."""
    for format_id in formats[:-1]:
        try:
            return _from_arrays(raw, format_id, wanted)
        except CheckpointError:
            continue
    return _from_arrays(raw, formats[-1], wanted)


def _from_arrays(raw: Any, format_id: str, wanted: Mapping[str, Tensor] | None) -> Converted:
    try:
        tensors = get(format_id).convert(raw)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise NotACheckpoint(_not_of(format_id, error)) from error
    return _finished(tensors, format_id, wanted, [])


def _not_of(format_id: str, error: Exception) -> str:
    """Why content is not that of a format; whatever Python says of nonsense is one short line."""
    why = shown(str(error).partition("\n")[0])
    if not isinstance(error, published.PublishedFormatError | KeyError | ValueError):
        why = f"{type(error).__name__}, {why}"
    return f"file does not hold format {format_id!r}: {why}."


def _finished(
    tensors: dict[str, Tensor],
    format_id: str,
    wanted: Mapping[str, Tensor] | None,
    notes: list[str],
) -> Converted:
    """Tensors that fit, each in memory of its own."""
    if wanted is not None:
        if format_id not in PLAIN:
            tensors = {name: _as_wanted(v, wanted.get(name)) for name, v in tensors.items()}
        _require_fit(wanted, without_heads(tensors, format_id))
        notes = [*notes, *casts(wanted, tensors)]
    else:
        _require_numbers(tensors)
    _require_weights(tensors)
    owned = {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    return Converted(owned, format_id, notes=tuple(notes))


def _require_weights(tensors: Mapping[str, Tensor]) -> None:
    """Refuse numbers that are none, and masks in the place of weights."""
    floats = {name: value for name, value in tensors.items() if value.is_floating_point()}
    for name, value in floats.items():
        if not math.isfinite(float(value.sum())) and not bool(value.isfinite().all()):
            raise NotACheckpoint(f"{shown(name)} holds numbers that are infinite or none (NaN).")
    matrices = [value for value in floats.values() if value.ndim > 1]
    if matrices and all(bool(((m == 0) | (m == 1)).all()) and bool(m.any()) for m in matrices):
        msg = "every matrix in the file holds zeros and ones only: these are masks, not weights."
        raise NotACheckpoint(msg)


def _as_wanted(value: Tensor, wanted: Tensor | None) -> Tensor:
    """A classifier that the paper's code keeps as a 1x1 convolution, or the other way round."""
    if wanted is None or value.numel() != wanted.numel():
        return value
    short, long = sorted((tuple(value.shape), tuple(wanted.shape)), key=len)
    same = long[: len(short)] == short and math.prod(long[len(short) :]) == 1
    return value.reshape(wanted.shape) if same else value


def _require_fit(wanted: Mapping[str, Tensor], tensors: Mapping[str, Any]) -> None:
    differences = misfit(wanted, tensors)
    if differences:
        raise Misfit(differences, tensors)


def _require_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Without a network to compare with: weights are floating point, index buffers integers."""
    for name, value in tensors.items():
        if not value.is_floating_point() and value.dtype != torch.int64:
            msg = f"{shown(name)} is {spelled(value.dtype)}; weights are floating-point numbers"
            raise NotACheckpoint(f"file holds no weights: {msg}.")
