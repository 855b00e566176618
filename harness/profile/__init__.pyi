from .backends import RUNNERS, missing_compiler
from .compressed_size import SizeTable, WeightsFile, Widths, size_table
from .cost import measure_cost
from .latency import LatencyRequest, measure_and_save, measure_latency
from .macs import DenseMacs, dense_macs
from .method_figures import figures_of, latency_of
from .notes import abbreviated, notes_of
from .timed_networks import (
    DRAWN_WITH_SEED,
    TimedNetwork,
    TimedNetworks,
    beside_dense,
    fresh_network,
    input_shape_of,
    network_from_file,
    networks_of_model,
    prune_at_random_,
)
from .timing import BURST, Precision, in_turns, interleaved, layer_times, require_repeats, times_of
from .zeros import sparsity

__all__ = [
    "RUNNERS",
    "BURST",
    "DenseMacs",
    "LatencyRequest",
    "Precision",
    "DRAWN_WITH_SEED",
    "SizeTable",
    "TimedNetwork",
    "TimedNetworks",
    "WeightsFile",
    "Widths",
    "dense_macs",
    "figures_of",
    "beside_dense",
    "fresh_network",
    "in_turns",
    "input_shape_of",
    "interleaved",
    "latency_of",
    "layer_times",
    "measure_and_save",
    "measure_latency",
    "measure_cost",
    "network_from_file",
    "missing_compiler",
    "notes_of",
    "networks_of_model",
    "prune_at_random_",
    "require_repeats",
    "size_table",
    "abbreviated",
    "sparsity",
    "times_of",
]
