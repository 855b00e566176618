from .exit_codes import UNEXPECTED, USAGE, exit_code
from .machine_problems import machine_problem, memory_errors_said_once
from .output import progress
from .streams import lost_output, watched_streams
from .visible_text import in_one_line, problem_line, say_line, say_problem, speak_for_libraries

__all__ = [
    "UNEXPECTED",
    "USAGE",
    "exit_code",
    "in_one_line",
    "lost_output",
    "machine_problem",
    "memory_errors_said_once",
    "problem_line",
    "progress",
    "say_line",
    "say_problem",
    "speak_for_libraries",
    "watched_streams",
]
