from .architectures import PictureFormat, architecture, own_names
from .building import TIMM_PREFIX, build, input_size
from .model_names import ModelName, parse_model_name
from .own_code import hold, import_typed, is_own_code, is_untyped, source_sha256, typed_name
from .picture_size import fitted, fitted_entry, require_size

__all__ = [
    "ModelName",
    "PictureFormat",
    "TIMM_PREFIX",
    "architecture",
    "build",
    "fitted",
    "fitted_entry",
    "hold",
    "import_typed",
    "input_size",
    "is_own_code",
    "is_untyped",
    "own_names",
    "parse_model_name",
    "require_size",
    "source_sha256",
    "typed_name",
]
