"""Which part of a file are the weights: in what wrapper, behind what prefix, beside what else."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.checkpoints.claimed_tensors import Claim, DenseClaim, SparseClaim, Unreadable
from harness.checkpoints.wording import shown
from harness.errors import NotACheckpoint

# In this order when a file holds several; what stands in no wrapper comes between the two.
WRAPPERS = (
    *("model_state_dict", "state_dict", "model", "net", "network", "model_state", "model_weights"),
    *("weights", "params", "state", "backbone"),
)
AVERAGES = (
    *("state_dict_ema", "model_state_dict_ema", "model_ema", "ema_model", "ema_state_dict", "ema"),
    "params_ema",
)
_RANK = {name: rank for rank, name in enumerate((*WRAPPERS, "", *AVERAGES))}
_WRAPPED = ("module.", "_orig_mod.")  # by DataParallel and by torch.compile
_EXTRAS = re.compile(
    r"(?:.*\.)?(?:total_ops|total_params|n_averaged|(?:normali[sz]er?|0)\.(?:mean|std))"
)
MAX_NAME, MAX_PARTS = 500, 32  # characters and levels of a tensor's name
_MAX_DEPTH, _MAX_CONTAINERS = 4, 10_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mapping in the file that holds tensors. key: its path, "" for the file as a whole."""

    key: str
    claims: Mapping[str, Claim]
    beside: tuple[str, ...] = ()  # names in the same mapping that hold no tensor


def candidates(content: Any) -> list[Candidate]:
    """Every mapping of names to tensors in `content`, in the order in which they are tried."""
    return sorted(_search(content), key=_rank)


def _search(content: Any) -> Iterator[Candidate]:
    waiting: deque[tuple[str, Any, int]] = deque([("", content, 0)])
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_CONTAINERS:
        key, container, depth = waiting.popleft()
        if (
            id(container) in seen
            or depth > _MAX_DEPTH
            or not isinstance(container, dict | list | tuple)
        ):
            continue
        seen.add(id(container))
        items = container.items() if isinstance(container, dict) else enumerate(container)
        waiting += (
            (_path(key, name), value, depth + 1)
            for name, value in items
            if isinstance(value, dict | list | tuple)
        )
        if isinstance(container, dict):
            named_claims = ((n, _claim(v)) for n, v in container.items() if isinstance(n, str))
            tensors = {n: claim for n, claim in named_claims if claim is not None}
            for name in tensors:
                _require_short(name)
            if tensors and set(map(type, container)) == {str}:
                yield Candidate(key, tensors, tuple(n for n in container if n not in tensors))


def _path(key: str, name: Any) -> str:
    if not isinstance(name, str | int):
        return f"{key}.?".lstrip(".")
    _require_short(str(name))
    return f"{key}.{name}".lstrip(".")


def _require_short(name: str) -> None:
    if len(name) > MAX_NAME:
        raise NotACheckpoint(f"file holds a name of {len(name):,} characters.")


def _claim(value: Any) -> Claim | None:
    """The tensor that `value` is; a quantised layer packs its weight and bias into one tuple."""
    if isinstance(value, tuple):
        return next((part for part in value if isinstance(part, Unreadable)), None)
    return value if isinstance(value, DenseClaim | SparseClaim | Unreadable) else None


def _rank(candidate: Candidate) -> tuple[int, int]:
    """Known wrappers come in their order; a path is as good as its least known part."""
    parts = [part for part in candidate.key.split(".") if not part.isdecimal()] or [""]
    return max(_RANK.get(part, len(_RANK)) for part in parts), len(parts)


def named(found: list[Candidate], key: str) -> Candidate:
    """The candidate called `key`. Raises NotACheckpoint, with the known ones, if there is none."""
    for candidate in found:
        if candidate.key == key:
            return candidate
    known = ", ".join(repr(shown(one.key)) for one in found[:8] if one.key) or "no wrapper"
    raise NotACheckpoint(f"file holds no weights under {key!r}; it has {known}.")


def unwrapped(
    candidate: Candidate, own: Collection[str], every: bool
) -> tuple[dict[str, Claim], list[str]]:
    """The candidate's claims without prefix and known extras, and notes about what was left out.

    own: names of the network, empty if it is not known. every: the prefix is that of all names,
    which is certain; else of those that the network has.
    """
    extras = [n for n in candidate.claims if _EXTRAS.fullmatch(n) and n not in own]
    claims = {name: value for name, value in candidate.claims.items() if name not in extras}
    while (start := _common(claims)) is not None:
        claims = {name.removeprefix(start): value for name, value in claims.items()}
    prefix = _prefix(claims, own)
    if every and not all(name.startswith(prefix) for name in claims):
        prefix = ""
    plain = {name.removeprefix(prefix): value for name, value in claims.items()}
    if len(plain) != len(claims):  # a name that begins with the prefix, and one that never had it
        plain, prefix = claims, ""
    notes = [f"prefix {prefix!r} removed"] if prefix else []
    dropped = [*extras, *candidate.beside]
    if dropped:
        more = f" and {len(dropped) - 3} more" if len(dropped) > 3 else ""
        notes.append(f"not part of the network, dropped: {', '.join(dropped[:3])}{more}")
    return plain, notes


def _common(names: Collection[str]) -> str | None:
    """What torch itself put before every name."""
    fits = (start for start in _WRAPPED if names and all(n.startswith(start) for n in names))
    return next(fits, None)


def _prefix(names: Collection[str], own: Collection[str]) -> str:
    """What stands before the names of the network in most of `names`."""
    found: Counter[str] = Counter({"": 0})
    for name in names:
        parts = name.removesuffix("_orig").split(".")
        for i in range(min(len(parts), MAX_PARTS)):
            if ".".join(parts[i:]) in own:
                found["".join(f"{part}." for part in parts[:i])] += 1
    return max(found, key=lambda prefix: (found[prefix], -len(prefix)))
