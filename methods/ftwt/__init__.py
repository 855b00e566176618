"""FTWT: each layer learns to predict, per image, which of its filters will fire.

Elkerdawy et al., "Fire Together Wire Together", CVPR 2022. `layers` says where gates go, `gates`
puts them there, `gate_training` trains them, `accounting` counts what they save, `skip` really
saves it.
"""

from methods.ftwt.gate_training import FTWT, FTWTSettings
from methods.ftwt.gates import ground_truth_mask

__all__ = ["FTWT", "FTWTSettings", "ground_truth_mask"]
