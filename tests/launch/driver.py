"""A driver in a process of its own, to be killed: python -m tests.launch.driver HOME"""

import sys
from pathlib import Path

from harness.errors import Preempted
from tests.launch.trainings import prunings, run, trainings

if __name__ == "__main__":
    jobs = [*trainings(save_every_s=0.0), *prunings(0.5)]
    try:
        run("local", jobs, Path(sys.argv[1]))
    except Preempted as error:
        print(error, file=sys.stderr)
        sys.exit(5)
