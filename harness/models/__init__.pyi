from .building import TIMM_PREFIX, build, input_size
from .picture_size import require_size
from .registration import PictureFormat, architecture, own_names

__all__ = [
    "PictureFormat",
    "TIMM_PREFIX",
    "architecture",
    "build",
    "input_size",
    "own_names",
    "require_size",
]
