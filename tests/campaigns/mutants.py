"""One-token changes of a Python source: what a slip of the hand, or of thought, would write.

Comparisons lose or gain their edge, + and - and the like change places, constants move by one (of
their last digit), `and` becomes `or`, conditions turn round, `min` becomes `max`, slices lose a
bound, and a function returns None. Annotations, decorators, asserts (a zip's `strict` too),
docstrings and what only type checkers see are left alone. Positions are checked, so that a change
is never made elsewhere.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter

_COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: (r"is\s+not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: (r"not\s+in", "in"),
}
_ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: (r"\+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: (r"\*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: (r"\*\*", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: (r"\|", "&"),
}
_PREFIXES: dict[type[ast.unaryop], str] = {ast.Not: r"not\s+", ast.USub: "-", ast.Invert: "~"}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor"}
_SWAPPED = {ast.Break: "continue", ast.Continue: "break"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: `new` in place of the bytes from `start` to `end` of the source."""

    start: int
    end: int
    new: str
    number: int  # of the line, from 1
    line: str  # as it stands, without indentation
    becomes: str
    functions: tuple[int, ...]  # first lines of the functions around it, outermost first

    def applied(self, source: str) -> str:
        raw = source.encode()
        return (raw[: self.start] + self.new.encode() + raw[self.end :]).decode()


def mutants(source: str) -> list[Mutant]:
    """Every one-token change of `source` that still compiles, in the order of the text."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    found = sorted(set(finder.found), key=attrgetter("start", "end", "new"))
    return [mutant for mutant in found if _compiles(mutant.applied(source))]


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


@dataclass
class _Finder(ast.NodeVisitor):
    source: str
    found: list[Mutant] = field(default_factory=list)
    functions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.raw = self.source.encode()
        self.starts = [0]
        for line in self.raw.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)  # evaluated where the function stands, not in it
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        outside, self.functions = self.functions, (*self.functions, first)
        for statement in node.body:
            self.visit(statement)
        self.functions = outside

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)

    def visit_Assert(self, node: ast.Assert) -> None:
        """Left alone: asserts tell type checkers what cannot be otherwise."""

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            self._turned(node.test)
            self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._turned(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._turned(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._turned(test)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in pairwise(node.values):
            self._between(left, right, old, new)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for (left, right), op in zip(
            pairwise([node.left, *node.comparators]), node.ops, strict=True
        ):
            self._between(left, right, *_COMPARISONS[type(op)])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        bits = isinstance(node.op, ast.BitAnd | ast.BitOr)
        if type(node.op) in _ARITHMETIC and (self.functions or not bits):  # outside: types
            self._between(node.left, node.right, *_ARITHMETIC[type(node.op)])
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if type(node.op) in _ARITHMETIC:
            self._between(node.target, node.value, *_ARITHMETIC[type(node.op)])
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg != "strict":  # of a zip: an assert in another form
            self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        prefix = re.match(_PREFIXES.get(type(node.op), "(?!)"), self._text(node))
        if prefix:
            self._change(node, self._start(node), self._start(node) + prefix.end(), "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        for new in _moved(node.value, self._text(node)):
            self._change(node, self._start(node), self._end(node), new)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func
        if isinstance(name, ast.Name | ast.Attribute):
            said = name.id if isinstance(name, ast.Name) else name.attr
            if said in _NAMES:
                self._change(name, self._end(name) - len(said), self._end(name), _NAMES[said])
            if said == "abs" and isinstance(name, ast.Name):
                self._change(name, self._start(name), self._end(name), "")
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self._change(node.value, self._start(node.value), self._end(node), "None")
        self.generic_visit(node)

    def visit_Slice(self, node: ast.Slice) -> None:
        for bound in (node.lower, node.upper, node.step):
            if bound:
                self._change(bound, self._start(bound), self._end(bound), "")
        self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        if type(node) in _SWAPPED:
            self._change(node, self._start(node), self._end(node), _SWAPPED[type(node)])
        super().generic_visit(node)

    def _turned(self, test: ast.expr) -> None:
        """A condition that is a plain value, turned round; operators have changes of their own."""
        if isinstance(test, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
            self._change(test, self._start(test), self._start(test), "not ")

    def _between(self, left: ast.AST, right: ast.AST, old: str, new: str) -> None:
        start, end = self._end(left), self._start(right)
        gap = re.sub(rb"#.*", lambda comment: b" " * len(comment[0]), self.raw[start:end])
        place = re.search(old.encode(), gap)
        if place and self._stands(left) and self._stands(right):
            self._add(start + place.start(), start + place.end(), new, left)

    def _change(self, node: ast.AST, start: int, end: int, new: str) -> None:
        if self._stands(node):
            self._add(start, end, new, node)

    def _add(self, start: int, end: int, new: str, node: ast.AST) -> None:
        number = self.raw.count(b"\n", 0, start) + 1
        first, last = self.starts[number - 1], self.starts[number]
        changed = self.raw[first:start] + new.encode() + self.raw[end : max(end, last)]
        line, becomes = self.raw[first:last].decode().strip(), changed.decode().strip()
        self.found.append(Mutant(start, end, new, number, line, becomes, self.functions))

    def _stands(self, node: ast.AST) -> bool:
        """Whether the node's text is where it claims: in f-strings of Python 3.11 it may not be."""
        if not isinstance(node, ast.expr):
            return True
        try:
            parsed = ast.parse(f"({self._text(node)})", mode="eval").body
        except (SyntaxError, UnicodeDecodeError):
            return False
        return ast.unparse(parsed) == ast.unparse(node)

    def _start(self, node: ast.AST) -> int:
        return self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]

    def _end(self, node: ast.AST) -> int:
        return self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    def _text(self, node: ast.AST) -> str:
        return self.raw[self._start(node) : self._end(node)].decode(errors="replace")


def _moved(value: object, text: str) -> list[str]:
    """A number one off: an integer both ways, a fraction by one unit of its last digit."""
    if isinstance(value, bool):
        return [str(not value)]
    if isinstance(value, int):
        return [str(value + 1), str(value - 1)]
    number = re.fullmatch(r"([\d_.]*)(\d)(\.?)(e.*)?", text) if isinstance(value, float) else None
    if number is None:
        return []
    before, digit, point, exponent = number.groups(default="")
    return [f"{before}{'8' if digit == '9' else int(digit) + 1}{point}{exponent}"]
