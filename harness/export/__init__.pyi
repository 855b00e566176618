from .channel_removal import OUTPUTS, Removal, remove_channels_
from .finding import FoundNetwork, NetworkName, find_network, find_weights
from .hub_folder import HubFolder, write_hub_folder
from .hub_upload import require_repository, upload
from .measuring import evaluate_network, timed_network
from .metadata import about_network
from .narrowing import narrowed_model, narrowed_network
from .shrunk_filter_search import (
    Shrunk,
    filter_state_file,
    finished_run_folder,
    shrink_filter_search,
)
from .weights import Weights, export, last_trained, published, trained

__all__ = [
    "OUTPUTS",
    "FoundNetwork",
    "HubFolder",
    "NetworkName",
    "Removal",
    "Shrunk",
    "Weights",
    "about_network",
    "evaluate_network",
    "export",
    "filter_state_file",
    "find_network",
    "find_weights",
    "finished_run_folder",
    "last_trained",
    "narrowed_model",
    "narrowed_network",
    "published",
    "remove_channels_",
    "require_repository",
    "shrink_filter_search",
    "timed_network",
    "trained",
    "upload",
    "write_hub_folder",
]
