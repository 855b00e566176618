"""What a reader of a network's cost must know besides its numbers, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from harness.results import Cost

NAMED = 4  # in a sentence
_EVERYWHERE = ("bias", "norm")  # outside the weights of nearly every network, so not worth a word


def notes_of(cost: Cost) -> tuple[str, ...]:
    """Sentences about `cost`; () where its numbers need none.

    Layers that lost every weight, filters that did, weights that only look like zeros, weights
    that are changed before they are used or that the method left alone, parameters that no count
    covers, products that nobody counts.
    """
    found = (_emptied(cost), _dead(cost), _near(cost), _changed(cost), _left_alone(cost))
    return tuple(note for note in (*found, _outside(cost), _uncounted(cost)) if note)


def abbreviated(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _emptied(cost: Cost) -> str:
    return f"no weight left in {abbreviated(cost.collapsed)}" if cost.collapsed else ""


def _dead(cost: Cost) -> str:
    layers = [row.name for row in cost.layers if row.dead_filters]
    return (
        f"{cost.dead_filters:,} filters without any weight in {abbreviated(layers)}"
        if layers
        else ""
    )


def _near(cost: Cost) -> str:
    if not cost.near_zero:
        return ""
    looks = 100.0 * (1.0 - (cost.nnz - cost.near_zero) / cost.total)
    return (
        f"{cost.near_zero:,} weights are not zero but below 1e-6: {looks:.2f} % look like zeros, "
        f"{cost.sparsity_pct:.2f} % are"
    )


def _changed(cost: Cost) -> str:
    changed = [row for row in cost.layers if row.nnz_stored is not None]
    if not changed:
        return ""
    total = sum(row.total for row in changed)
    stored = 100.0 * (1.0 - sum(row.nnz_stored or 0 for row in changed) / total)
    used = 100.0 * (1.0 - sum(row.nnz for row in changed) / total)
    return (
        f"{len(changed)} weights are changed before they are used: {used:.2f} % zeros in use, "
        f"{stored:.2f} % as stored"
    )


def _left_alone(cost: Cost) -> str:
    return f"left alone by the settings: {abbreviated(cost.left_out)}" if cost.left_out else ""


def _outside(cost: Cost) -> str:
    rows = [row for row in cost.outside if row.kind not in _EVERYWHERE]
    if not rows:
        return ""
    share = 100.0 * sum(row.params for row in rows) / cost.params
    names = [name for row in rows for name in row.names]
    return (
        f"{share:.2f} % of the parameters are no weights ({abbreviated(names)}): no zeros, no MACs"
    )


def _uncounted(cost: Cost) -> str:
    if not cost.unsupported:
        return ""
    return f"MACs may be too low: no count is known for {abbreviated(cost.unsupported)}"
