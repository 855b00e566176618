from .backends import RUNNERS, missing_compiler
from .cost import measure_cost
from .latency import Request, measure
from .macs import DenseMacs, dense_macs
from .method_figures import figures_of, latency_of
from .notes import abbreviated, notes_of
from .storage import SizeTable, Widths, find, size_table
from .timed_networks import (
    SEED,
    Subject,
    Subjects,
    fresh_network,
    input_shape_of,
    network_from_file,
    of_entry,
    of_model,
)
from .timing import BURST, in_turns, interleaved, layer_times, require_repeats, times_of
from .zeros import sparsity

__all__ = [
    "RUNNERS",
    "BURST",
    "DenseMacs",
    "Request",
    "SEED",
    "SizeTable",
    "Subject",
    "Subjects",
    "Widths",
    "dense_macs",
    "figures_of",
    "find",
    "fresh_network",
    "in_turns",
    "input_shape_of",
    "interleaved",
    "latency_of",
    "layer_times",
    "measure",
    "measure_cost",
    "network_from_file",
    "missing_compiler",
    "notes_of",
    "of_entry",
    "of_model",
    "require_repeats",
    "size_table",
    "abbreviated",
    "sparsity",
    "times_of",
]
