from . import decode_cache
from .augment import Augment
from .batches import (
    Batch,
    EvaluationBatches,
    batches_of,
    evaluation_batches,
    find_images,
    resident_batches,
    spread_rows,
    stacked,
)
from .decode_cache import DecodeCache, cache_folder, cached
from .decoders import Transform, cores, in_batches
from .decoding import decode, ordered_map
from .find_and_load import ImageSet, PictureSet, describe, find_pictures, load
from .given_images import Images
from .identity import ImageIdentity
from .layouts.in_memory import InMemory
from .layouts.layout import Arrays, Layout
from .own_data import Stated, data_set_name
from .pixels import Normalise, in_channels
from .training_batches import FolderTrainBatches, Share, TrainBatches, generator_for

__all__ = [
    "Arrays",
    "Augment",
    "Batch",
    "DecodeCache",
    "EvaluationBatches",
    "FolderTrainBatches",
    "ImageIdentity",
    "ImageSet",
    "Images",
    "InMemory",
    "Layout",
    "Normalise",
    "PictureSet",
    "Share",
    "Stated",
    "TrainBatches",
    "Transform",
    "batches_of",
    "cache_folder",
    "cached",
    "cores",
    "data_set_name",
    "decode",
    "decode_cache",
    "describe",
    "evaluation_batches",
    "find_images",
    "find_pictures",
    "generator_for",
    "in_batches",
    "in_channels",
    "load",
    "ordered_map",
    "resident_batches",
    "spread_rows",
    "stacked",
]
