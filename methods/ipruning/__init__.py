"""IPruning and EDropout: whole filters, searched by differential evolution while training.

`filter_layout` says which bit switches what, `differential_evolution` evolves states, `energy`
judges them (by `redundancy` among other things), `candidate_masks` wears one for a forward pass,
`filter_search` and `ipruning_and_edropout` train with them, `dead_channels` removes what is off for
good. `released` is what the public code computes instead.
"""

from methods.ipruning.differential_evolution import draw_parents, evolve, select
from methods.ipruning.energy import classification_margin, ising_energy, margin_energy
from methods.ipruning.ipruning_and_edropout import EDropout, IPruning

__all__ = [
    "EDropout",
    "IPruning",
    "classification_margin",
    "draw_parents",
    "evolve",
    "ising_energy",
    "margin_energy",
    "select",
]
