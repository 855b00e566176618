from .exit_codes import UNEXPECTED, USAGE, exit_code
from .output import progress

__all__ = ["UNEXPECTED", "USAGE", "exit_code", "progress"]
