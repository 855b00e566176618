"""Rate-distortion pruning: how much each layer loses is decided by what it does to the logits.

Measure the curves (`distortion`), choose one rate per layer (`solvers`), remove (`pruning`).
Source: ICCV 2023, arXiv 2308.10438, and the published program.
"""

from methods.rate_distortion.calibration import calibration_indices, synthetic_images
from methods.rate_distortion.distortion import Measurement, curves, measure
from methods.rate_distortion.flops import LayerFlops, flops_remaining, output_positions
from methods.rate_distortion.keys import curve_key, network_hash, tensors_hash
from methods.rate_distortion.pruning import Allocation, RateDistortion, RateDistortionSettings
from methods.rate_distortion.solvers import OfficialIndexError, solve_exact, solve_official

__all__ = [
    "Allocation",
    "LayerFlops",
    "Measurement",
    "OfficialIndexError",
    "RateDistortion",
    "RateDistortionSettings",
    "calibration_indices",
    "curve_key",
    "curves",
    "flops_remaining",
    "measure",
    "network_hash",
    "output_positions",
    "solve_exact",
    "solve_official",
    "synthetic_images",
    "tensors_hash",
]
