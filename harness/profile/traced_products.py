"""Handles for fvcore that name the weight behind every product of a traced network.

fvcore counts by module, and misses what a module does with another one's weight. Here each matrix
product and convolution is traced back to the parameter it multiplies by, through views and through
what only parameters go into (standardisation, parametrizations). A product of two tensors that
both depend on the image is one of activations (attention), and so is one with a parameter that is
no weight (tables of positions). A kernel mixed for the image counts as that of its bank.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Handle = Callable[[Sequence[Any], Sequence[Any]], Any]
Origin = tuple[bool, frozenset[str]]  # depends on the image, and the weights it is worked out from

WEIGHT, MIXED, ACTIVATIONS, UNCOUNTED = "weight:", "mixed:", "activations:", "uncounted:"
KEYS = (WEIGHT, MIXED, ACTIVATIONS, UNCOUNTED)

_VIEWS = {
    f"aten::{name}"
    for name in (
        "alias", "chunk", "clone", "contiguous", "detach", "expand", "expand_as", "flatten",
        "movedim", "narrow", "numpy_T", "permute", "reshape", "reshape_as", "select", "slice",
        "split", "split_with_sizes", "squeeze", "swapaxes", "t", "to", "transpose", "type_as",
        "unbind", "unflatten", "unsqueeze", "view", "view_as",
    )
} | {"prim::ListUnpack", "prim::TupleUnpack"}  # fmt: skip


class Products:
    """Handles for one traced network."""

    def __init__(self, weights: Mapping[int, str], theirs: Mapping[str, Handle]) -> None:
        """weights: place among the graph's inputs, of which the image is the first -> name.

        theirs: fvcore's own handles, whose counts are kept beside ours.
        """
        self.readers: dict[str, list[str]] = {}  # weight -> operations that read it
        self._weights = weights
        self._theirs = theirs
        self._origins: dict[int, Origin] = {}
        self._handles: dict[str, Handle] = {
            **dict.fromkeys(("linear", "matmul", "mm", "bmm", "mv"), self._matrices),
            **dict.fromkeys(("addmm", "baddbmm"), self._added_matrices),
            **dict.fromkeys(("_convolution", "_convolution_mode"), self._convolution),
            **dict.fromkeys(("conv1d", "conv2d", "conv3d"), self._convolution),
            **dict.fromkeys((f"conv_transpose{n}d" for n in (1, 2, 3)), self._transposed),
            **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), self._recurrent),
            "scaled_dot_product_attention": self._attention,
            "bilinear": self._bilinear,
            "einsum": self._einsum,
        }

    def handles(self) -> dict[str, Handle]:
        """Operation -> handle, for `FlopCountAnalysis.set_op_handle`; counts lie under `KEYS`."""
        return {f"aten::{name}": self._both(name) for name in self._handles}

    def _both(self, name: str) -> Handle:
        ours, theirs = self._handles[name], self._theirs.get(f"aten::{name}")

        def handle(given: Sequence[Any], made: Sequence[Any]) -> Counter[str]:
            found: Counter[str] = Counter(ours(given, made))
            if theirs is not None:
                counted = theirs(given, made)
                found.update(counted if isinstance(counted, dict) else {name: counted})
            return found

        return handle

    def _matrices(self, given: Sequence[Any], made: Sequence[Any]) -> Counter[str]:
        left, right = given[:2]
        return Counter({self._key(right, left): _numel(made[0]) * _shape(left)[-1]})

    def _added_matrices(self, given: Sequence[Any], made: Sequence[Any]) -> Counter[str]:
        return self._matrices(given[1:], made)

    def _convolution(self, given: Sequence[Any], made: Sequence[Any]) -> Counter[str]:
        images, kernel = given[:2]
        general = len(given) >= 12  # its seventh argument tells; the short forms never transpose
        return self._kernel(kernel, images if general and given[6].toIValue() else made[0])

    def _transposed(self, given: Sequence[Any], made: Sequence[Any]) -> Counter[str]:
        return self._kernel(given[1], given[0])

    def _kernel(self, kernel: Any, swept: Any) -> Counter[str]:
        """A kernel used once at every position of `swept` (N,C,*positions)."""
        count, _, *positions = _shape(swept)
        bank = self._bank(kernel)
        key = self._key(kernel) if bank is None else MIXED + bank
        return Counter({key: _numel(kernel) * count * math.prod(positions)})

    def _attention(self, given: Sequence[Any], made: Sequence[Any]) -> Counter[str]:
        query, key, value = map(_shape, given[:3])
        scores = math.prod(query[:-1]) * key[-2]
        return Counter({ACTIVATIONS: scores * (query[-1] + value[-1])})

    def _bilinear(self, given: Sequence[Any], made: Sequence[Any]) -> Counter[str]:
        uses = _numel(made[0]) // _shape(made[0])[-1]
        return Counter({self._key(given[2]): _numel(given[2]) * uses})

    def _recurrent(self, given: Sequence[Any], made: Sequence[Any]) -> Counter[str]:
        """Every matrix of the layer once per step of the sequence."""
        steps = _numel(given[0]) // _shape(given[0])[-1]
        found: Counter[str] = Counter()
        for value in given[2].node().inputs():
            if len(_shape(value)) == 2:
                found[self._key(value)] += _numel(value) * steps
        return found

    def _einsum(self, given: Sequence[Any], made: Sequence[Any]) -> Counter[str]:
        operands = list(given[1].node().inputs())
        if len(operands) != 2:  # of one nothing is multiplied, of more the order decides
            return Counter({f"{UNCOUNTED}einsum": len(operands) - 1})
        sizes: dict[str, int] = {}
        for term, operand in zip(
            given[0].toIValue().split("->")[0].split(","), operands, strict=True
        ):
            sizes |= _sizes(term.replace(" ", ""), _shape(operand))
        return Counter({self._key(*reversed(operands)): math.prod(sizes.values())})

    def _key(self, *operands: Any) -> str:
        """What a product counts as; the operand that is the weight more often comes first."""
        for find in (self._viewed, self._derived):
            for operand in operands:
                name = find(operand)
                if name is not None:
                    return WEIGHT + name
        return ACTIVATIONS

    def _viewed(self, value: Any) -> str | None:
        """The weight that `value` is a view of."""
        source = _source(value)
        if source.node().kind() != "prim::Param":
            return None
        self._note_readers(source.node())
        return self._weights.get(source.offset())

    def _bank(self, kernel: Any) -> str | None:
        """The weight that a product mixed `kernel` from, by shares that depend on the image."""
        node = _source(kernel).node()
        if not self._is_product(node) or not self._origin(kernel)[0]:
            return None
        found = (self._viewed(operand) for operand in node.inputs())
        return next((name for name in found if name is not None), None)

    def _derived(self, value: Any) -> str | None:
        """The first weight that `value` is worked out from, if no image goes into it."""
        image, names = self._origin(value)
        return None if image or not names else min(names)

    def _origin(self, value: Any) -> Origin:
        known, stack = self._origins, [value]
        while stack:
            top = stack[-1]
            missing = [given for given in top.node().inputs() if given.unique() not in known]
            stack += missing
            if not missing:
                known[stack.pop().unique()] = self._origin_of(top)
        return known[value.unique()]

    def _origin_of(self, value: Any) -> Origin:
        """The origin of a value whose operation's inputs are known."""
        node = value.node()
        if node.kind() == "prim::Param":
            name = self._weights.get(value.offset())
            return value.offset() == 0, frozenset(() if name is None else (name,))
        given = [self._origins[value.unique()] for value in node.inputs()]
        names = () if self._is_product(node) else (names for _, names in given)
        return any(image for image, _ in given), frozenset().union(*names)

    def _is_product(self, node: Any) -> bool:
        return node.kind().removeprefix("aten::") in self._handles

    def _note_readers(self, parameters: Any) -> None:
        """Keep which operations read each weight, once: the graph is gone after the analysis."""
        if not self.readers:
            for value in parameters.outputs():
                if value.offset() in self._weights:
                    self.readers[self._weights[value.offset()]] = sorted(set(_readers(value)))


def _source(value: Any) -> Any:
    """What `value` is a view of."""
    while value.node().kind() in _VIEWS:
        value = next(iter(value.node().inputs()))
    return value


def _readers(value: Any) -> list[str]:
    """Kinds of the operations that read `value` or a view of it."""
    found: list[str] = []
    for use in value.uses():
        if use.user.kind() in _VIEWS:
            found += [kind for made in use.user.outputs() for kind in _readers(made)]
        else:
            found.append(use.user.kind())
    return found


def _sizes(term: str, shape: Sequence[int]) -> dict[str, int]:
    """Letter -> size of one operand of an einsum; what "..." covers is numbered from behind."""
    front, dots, back = term.partition("...")
    covered = shape[len(front) : len(shape) - len(back)] if dots else []
    names = [*front, *(f"...{i}" for i in range(len(covered), 0, -1)), *back]
    return dict(zip(names, shape, strict=True))


def _shape(value: Any) -> list[int]:
    sizes: list[int] = value.type().sizes()
    return sizes


def _numel(value: Any) -> int:
    return math.prod(_shape(value))
