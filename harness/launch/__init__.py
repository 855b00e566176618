"""Where jobs run: here, in a pool of processes, on a cluster; sweeps, the queue, the runs.

A job (`Job`) is plain data: one seed to train, one result to put together, one entry to evaluate;
its key names what decides the result. An executor (`harness.launch.executor`) runs jobs and tells
how each attempt ended; the queue (`Queue`) decides what is tried again and remembers what is done
in a journal. Truth about a training lies in its run folder alone: a job that is repeated finds
there how far it came, so a lost journal, process or node loses no more than one save interval.

To add an executor, write a file beside `local.py` with a class that has `submit`, `poll`,
`collect`, `cancel` and `close` as `Executor` documents them, and a line in `EXECUTORS`. It never
retries: it says "lost" when a process or node died, "preempted" when a job saved and stopped.

The names it exports stand in `__init__.pyi`; each is loaded when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
