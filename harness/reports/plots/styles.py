"""How a method and a kind of number look, on the site and in pictures.

A method has a colour and a shape, so that it is told apart in grey and by colour-blind eyes; the
colours are those of Okabe and Ito (2008), moved until they stand out from the paper by 3:1 and
differ from one another for red-blind and green-blind eyes too. What kind of number it is shows in
the filling.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Blue, vermilion, bluish green, reddish purple, orange, sky blue, black or yellow.
ON_WHITE = ("#0072b2", "#d05400", "#009e73", "#cc7aa8", "#cb8526", "#5397e2", "#333333")
ON_DARK = ("#0076b5", "#d55e00", "#009e73", "#cd7da6", "#e69f00", "#56b4e9", "#f0e342")
# Names of Vega and of Matplotlib. One more than there are colours: 56 methods differ.
SHAPES = (
    ("circle", "o"),
    ("square", "s"),
    ("triangle-up", "^"),
    ("diamond", "D"),
    ("triangle-down", "v"),
    ("cross", "P"),
    ("triangle-right", ">"),
    ("triangle-left", "<"),
)


@dataclass(frozen=True, slots=True)
class Style:
    """One method's look."""

    colour: str
    on_dark: str
    shape: str  # a Vega symbol
    marker: str  # the same for Matplotlib


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """Method -> style, in alphabetical order."""
    found = {}
    for place, method in enumerate(sorted(set(methods))):
        shape, marker = SHAPES[place % len(SHAPES)]
        colour = place % len(ON_WHITE)
        found[method] = Style(ON_WHITE[colour], ON_DARK[colour], shape, marker)
    return found
