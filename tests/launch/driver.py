"""A driver in a process of its own, to be killed: python -m tests.launch.driver HOME [NAME]"""

import sys
from dataclasses import replace
from pathlib import Path

from harness.errors import Preempted
from harness.launch import Resources
from tests.launch.trainings import prunings, run, trainings

if __name__ == "__main__":
    jobs = [*trainings(save_every_s=0.0), *prunings(0.5)]
    try:
        name = sys.argv[2] if len(sys.argv) > 2 else "local"
        small = [replace(job, resources=Resources(1, 0.0, 0.5)) for job in jobs]
        run(name, small, Path(sys.argv[1]))
    except Preempted as error:
        print(error, file=sys.stderr)
        sys.exit(5)
