from . import zoo
from .picture_size import require_size
from .zoo import TIMM_PREFIX, build, input_size, names, register

__all__ = ["TIMM_PREFIX", "build", "input_size", "names", "register", "require_size", "zoo"]
