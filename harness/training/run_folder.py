"""The folder of one training run: atomic state for resuming, final weights, proof of completion.

state.pt              everything needed to continue, replaced atomically
roundNN/state.pt      likewise, inside a round of pruning
weights.safetensors   the finished network, plain keys
predictions.npz       the class it gives to every test image
best.safetensors      the network of the best epoch so far, if the recipe selects it
end.pt                last weights and method state, if the method has several final networks
run.yaml              the options that repeat it: bench train --config run.yaml
done.json             written last: a run that has it is finished
run.json              what was asked for, so that another process can take the run up
progress.json         how far it is, for whoever looks while it runs
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from harness import paths
from harness.errors import DamagedFile, ProtocolError, RunInUse
from harness.registry import from_mapping
from harness.results import Run, each_readable
from harness.system import (
    SharedStore,
    locked,
    rank,
    read_json,
    replace_file,
    sha256_file,
    wait_for_all,
)
from harness.training.run_status import lock_of

# What restoring a saved state raises when the file is whole and says something else.
_NONSENSE = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrigin:
    """What rebuilds a network and its method without the command that trained them."""

    entry: str
    model: str
    dataset: str
    method: str
    settings: Mapping[str, Any]
    input_shape: tuple[int, int, int]


class RunFolder:
    """Where one seed of one configuration keeps its state. `key` hashes the configuration.

    store: has every file of the folder too, but for how far it is, so that another machine goes on.
    """

    def __init__(self, path: Path, key: str, store: SharedStore | None = None) -> None:
        self.path = path
        self.key = key
        self.store = store

    @property
    def weights(self) -> Path:
        """The finished network."""
        return self.path / "weights.safetensors"

    @property
    def best(self) -> Path:
        """The network of the best evaluated epoch; only if the recipe selects it."""
        return self.path / "best.safetensors"

    def inner(self, name: str) -> RunFolder:
        """The folder of a part of this run."""
        return RunFolder(self.path / name, self.key, self.store)

    def or_finished_twin(self) -> RunFolder:
        """This folder, or that of another entry's finished run with the same key."""
        if self.path.exists():
            return self
        for done in sorted(self.path.parent.parent.glob(f"*/{self.path.name}/done.json")):
            twin = RunFolder(done.parent, self.key, self.store)
            if any(each_readable([twin], RunFolder.finished)):
                return twin
        return self

    def clear(self) -> None:
        """Forget everything, parts and leftovers of killed saves included."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.store is not None:
            self.store.forget(self.path)

    def fetch(self) -> None:
        """Take what the store has of this run, unless it is finished here."""
        if self.store is None or self.finished() is not None:
            return
        names = self.store.names(self.path)
        if names:
            shutil.rmtree(self.path, ignore_errors=True)
        for name in sorted(names, key=_done_last):
            self.store.fetch(self.path / name)

    def keep_whole(self) -> None:
        """Give the store what it lacks of this finished run."""
        if self.store is None:
            return
        known = {"progress.json", *self.store.names(self.path)}
        names = {file.name for file in self.path.iterdir() if file.is_file()} - known
        for name in sorted(names, key=_done_last):
            self.store.keep(self.path / name)

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Replace the state; a kill at any moment leaves the old or the new one, whole."""
        self._replace("state.pt", lambda file: torch.save({"key": self.key, **state}, file))

    def load_state(self) -> dict[str, Any] | None:
        """The saved state, or None. Raises ProtocolError if it belongs to another run."""
        return self._load("state.pt")

    def keep_end(self) -> None:
        """Keep of the saved state what other final networks can be made from."""
        state = self.load_state()
        if state is not None:
            end = {name: state[name] for name in ("key", "model", "method")}
            self._replace("end.pt", lambda file: torch.save(end, file))

    def load_end(self) -> dict[str, Any]:
        """{"model", "method"} after the last step. Raises ProtocolError if it was not kept."""
        end = self._load("end.pt")
        if end is None:
            msg = f"{self.path.name} keeps no end.pt to make another network from"
            raise ProtocolError(f"{msg}. Start again with --fresh")
        return end

    def _load(self, name: str) -> dict[str, Any] | None:
        file = self.path / name
        if not file.exists():
            return None
        try:
            with zipfile.ZipFile(file) as parts:  # torch.load does not look at the checksums
                if (bad := parts.testzip()) is not None:
                    raise ValueError(f"{bad} differs from its checksum")
            state: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
            key = state["key"]
        except Exception as error:  # damaged by a full disk: any of torch's, zipfile's errors
            raise self.damaged(name, error) from error
        if key != self.key:
            msg = (
                f"{file.parent.name} holds a run with other settings ({str(key)[:12]}, now "
                f"{self.key[:12]}). Start again with --fresh"
            )
            raise ProtocolError(msg)
        return state

    def save_text(self, name: str, text: str) -> None:
        """Replace a file for people."""
        self._replace(name, lambda file: file.write(text.encode()))

    def damaged(self, name: str, error: Exception) -> DamagedFile:
        """The error for a file of this run that is not what was written."""
        place = f"{self.path.parent.name}/{self.path.name}/{name}"
        problem = f"{type(error).__name__}: {error}".partition("\n")[0]
        return DamagedFile(
            f"{place} cannot be read ({problem}); the disk may have been full, or another version "
            "wrote it. Start this run again with --fresh"
        )

    @contextmanager
    def restoring(self, name: str) -> Iterator[None]:
        """What a file says is put to use in the block, where nonsense shows; DamagedFile then."""
        try:
            yield
        except _NONSENSE as error:
            raise self.damaged(name, error) from error

    def read_weights(self, file: Path) -> dict[str, Tensor]:
        """The tensors of `weights` or `best`, as they were written. Raises DamagedFile.

        Runs of before 2026-11-29 have no hash in done.json that would show a changed file.
        """
        from safetensors.torch import load

        name = file.name
        with self.restoring("done.json"):
            recorded = (self.done() or {}).get("sha256", {}).get(name)
        try:
            data = file.read_bytes()
            if recorded not in (None, hashlib.sha256(data).hexdigest()):
                raise ValueError("other sha256 than done.json says")
            return load(data)
        except Exception as error:  # whatever safetensors raises
            raise self.damaged(name, error) from error

    def save_best(self, weights: Mapping[str, Tensor]) -> None:
        """Replace the network of the best epoch."""
        self._save_weights("best.safetensors", weights)

    def finish(
        self, weights: Mapping[str, Tensor], predictions: np.ndarray, facts: Mapping[str, Any]
    ) -> None:
        """Write final weights and predictions, then done.json; the state is no longer needed.

        predictions: class indices (N,) uint16.
        """
        self._save_weights("weights.safetensors", weights)
        self._replace(
            "predictions.npz", lambda file: np.savez_compressed(file, predictions=predictions)
        )
        hashes = {
            file.name: sha256_file(file) for file in (self.weights, self.best) if file.exists()
        }
        text = json.dumps({"key": self.key, "sha256": hashes, **facts}, indent=1)
        self._replace("done.json", lambda file: file.write(text.encode()))
        (self.path / "state.pt").unlink(missing_ok=True)
        if self.store is not None:
            self.store.forget(self.path / "state.pt")
        for leftover in self.path.glob(".*.part"):  # of killed saves
            leftover.unlink(missing_ok=True)

    def finished(self) -> dict[str, Any] | None:
        """What done.json says, or None while the run is not finished. Raises DamagedFile."""
        facts = self.done()
        return facts if facts is not None and facts["key"] == self.key else None

    def done(self) -> dict[str, Any] | None:
        """Likewise, whatever run it is."""
        file = self.path / "done.json"
        if not file.exists():
            return None
        with self.restoring("done.json"):
            facts = read_json(file.read_bytes())
            if not isinstance(facts, dict) or not isinstance(facts["key"], str):
                raise ValueError("expected a mapping with a key")
        return facts

    def origin(self) -> RunOrigin | None:
        """What rebuilds the network of the finished run in this folder, whatever run it is.

        From here on the folder has the key of that run. None: a run of before 2026-11. Raises
        DamagedFile.
        """
        done = self.done()
        if done is None or done.get("origin") is None:
            return None
        self.key = done["key"]
        with self.restoring("done.json"):
            return from_mapping(RunOrigin, done["origin"])

    def predictions(self, done: Mapping[str, Any]) -> np.ndarray:
        """Class indices (N,) uint16 of the finished network. done: what `finished` gave.

        Runs of before 2026-11-29 hold them as a list in done.json. Raises DamagedFile.
        """
        try:
            if "predictions" in done:
                return np.asarray(done["predictions"], dtype=np.uint16)
            with np.load(self.path / "predictions.npz", allow_pickle=False) as stored:
                found: np.ndarray = stored["predictions"].astype(np.uint16, casting="safe")
            return found
        except Exception as error:  # whatever zipfile and numpy raise
            raise self.damaged("predictions.npz", error) from error

    def _save_weights(self, name: str, weights: Mapping[str, Tensor]) -> None:
        from safetensors.torch import save

        # A copy each: tied weights share memory, which the format does not allow.
        plain = {k: t.detach().to("cpu", copy=True).contiguous() for k, t in weights.items()}
        self._replace(name, lambda file: file.write(save(plain)))

    def _replace(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        replace_file(self.path / name, write)
        if self.store is not None:
            self.store.keep(self.path / name)


def _done_last(name: str) -> bool:
    return name == "done.json"


def folder_name(key: str, seed: int) -> str:
    """The name of a run's folder below that of its entry."""
    return f"{key[:12]}-seed{seed}"


def finished_run(run: Run) -> RunFolder | None:
    """The folder of a stored run, of whichever entry trained it; None if it is not here.

    A result of another final network of the same training is not the run of that folder.
    """
    name = "*" if run.key is None else folder_name(run.key, run.seed)
    for file in sorted(paths.runs_folder().glob(f"*/{name}/done.json")):
        for found in each_readable([RunFolder(file.parent, "")], _run_of):
            if found[0] == run:
                return RunFolder(file.parent, found[1])
    return None


def _run_of(folder: RunFolder) -> tuple[Run, str]:
    """What was measured in a finished run, and its key. Raises DamagedFile."""
    done = folder.done() or {}
    with folder.restoring("done.json"):
        return from_mapping(Run, done["run"]), done["key"]


@contextmanager
def opened(folder: RunFolder, *, fresh: bool) -> Iterator[RunFolder]:
    """`folder`, emptied if `fresh`, or a finished twin of it; no other command works in it.

    Under torchrun the first process holds the lock. It lies outside the folder, so that emptying
    the folder does not lift it, and is free as soon as its holder dies.
    Raises RunInUse, with nothing touched, if somebody else has it.
    """

    def refuse(holder: str) -> NoReturn:
        name = f"{folder.path.parent.name}/{folder.path.name}"
        raise RunInUse(
            f"{name}: process {holder} is at work on this very run, and two would overwrite each "
            f"other's state. Wait until it ends, or stop it (kill {holder}; it saves first); the "
            "same command then continues. Another seed or setting is another run"
        )

    with locked(lock_of(folder.path), refuse) if rank() == 0 else nullcontext():
        if not fresh:
            if rank() == 0:
                folder.fetch()
            yield folder.or_finished_twin()
            return
        if rank() == 0:
            folder.clear()
        wait_for_all()
        yield folder
