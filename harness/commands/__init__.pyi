from .exit_codes import UNEXPECTED, USAGE, exit_code
from .output import progress
from .visible_text import in_one_line, say_line, say_problem, speak_for_libraries

__all__ = [
    "UNEXPECTED",
    "USAGE",
    "exit_code",
    "in_one_line",
    "progress",
    "say_line",
    "say_problem",
    "speak_for_libraries",
]
