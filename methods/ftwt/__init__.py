"""FTWT: each layer learns to predict, per image, which of its filters will fire.

Elkerdawy et al., "Fire Together Wire Together", CVPR 2022. `layers` says where gates go, `gates`
puts them there, `method` trains them, `accounting` counts what they save, `skip` really saves it.
"""

from methods.ftwt.gates import ground_truth_mask
from methods.ftwt.method import FTWT, FTWTSettings, warm_heads

__all__ = ["FTWT", "FTWTSettings", "ground_truth_mask", "warm_heads"]
