from .shrink import (
    Shrunk,
    find_run,
    narrowed_entry,
    narrowed_model,
    remove_channels_,
    shrink_run,
    state_file,
)
from .weights import Weights, export, last_trained, published, trained

__all__ = [
    "Shrunk",
    "Weights",
    "export",
    "find_run",
    "last_trained",
    "narrowed_entry",
    "narrowed_model",
    "published",
    "remove_channels_",
    "shrink_run",
    "state_file",
    "trained",
]
