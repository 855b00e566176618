"""Opening the folder of a run: one command at a time, or two would overwrite each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NoReturn

from harness.errors import ProtocolError
from harness.file_lock import held
from harness.protocols.distributed import rank, wait_for_all
from harness.protocols.state import RunFolder


@contextmanager
def opened(folder: RunFolder, *, fresh: bool) -> Iterator[RunFolder]:
    """`folder`, emptied if `fresh`, or a finished twin of it; no other command works in it.

    Under torchrun the first process holds the lock. It lies outside the folder, so that emptying
    the folder does not lift it, and is free as soon as its holder dies.
    Raises ProtocolError, with nothing touched, if somebody else has it.
    """

    def refuse(holder: str) -> NoReturn:
        name = f"{folder.path.parent.name}/{folder.path.name}"
        raise ProtocolError(
            f"{name}: process {holder} is at work on this very run, and two would overwrite each "
            f"other's state. Wait until it ends, or stop it (kill {holder}; it saves first); the "
            "same command then continues. Another seed or setting is another run"
        )

    entry = folder.path.parent
    lock = entry.parent / ".locks" / f"{entry.name}-{folder.path.name}.lock"
    with held(lock, refuse) if rank() == 0 else nullcontext():
        if not fresh:
            yield folder.or_finished_twin()
            return
        if rank() == 0:
            folder.clear()
        wait_for_all()
        yield folder
