"""A training as plain data: what one process asks of another, today or after a crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import ProtocolError
from harness.registry import Entry, Fault, Override, Recipe, from_mapping, plain
from harness.system import Options, Progress, Reading
from harness.training.network_speed import Speed
from harness.training.training_plan import FirstTraining, Training


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """Everything a command says about a training; the seeds are those of `training`."""

    entry: Entry
    recipe: Recipe
    options: Options
    training: Training

    def as_plain(self) -> dict[str, Any]:
        """JSON-ready; `read` is the inverse, but for who hears of the progress."""
        options, training = self.options, self.training
        return {
            "entry": plain(self.entry),
            "recipe": plain(self.recipe),
            "first": plain(training.first),
            "overrides": plain(training.overrides),
            "seeds": list(training.seeds),
            "fresh": training.fresh,
            "evaluate_every": training.evaluate_every,
            "save_every_s": training.save_every_s,
            "speed": plain(training.speed),
            "device": options.device,
            "limit": options.limit,
            "offline": options.offline,
            "cache": options.cache,
            "data_root": whole(options.data_root),
            "from_file": whole(options.from_file),
            "reading": plain(options.reading),
        }

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> TrainingRequest:
        """The request that `as_plain` wrote. Raises ProtocolError for anything else."""
        try:
            first, changed = data["first"], data["overrides"]
            training = Training(
                seeds=tuple(data["seeds"]),
                fresh=data["fresh"],
                evaluate_every=data["evaluate_every"],
                save_every_s=data["save_every_s"],
                speed=from_mapping(Speed, data["speed"]),
                overrides={key: from_mapping(Override, each) for key, each in changed.items()},
                first=from_mapping(FirstTraining, first) if first else None,
            )
            options = Options(
                device=data["device"],
                limit=data["limit"],
                offline=data["offline"],
                cache=data["cache"],
                data_root=_path(data["data_root"]),
                from_file=_path(data["from_file"]),
                reading=from_mapping(Reading, data["reading"]),
            )
            entry, recipe = from_mapping(Entry, data["entry"]), from_mapping(Recipe, data["recipe"])
        except (Fault, KeyError, TypeError, AttributeError) as error:
            msg = f"this is no training that can be taken up ({error}). Repeat the command"
            raise ProtocolError(msg) from error
        return cls(entry, recipe, options, training)

    def with_progress(self, progress: Progress) -> TrainingRequest:
        """The same request with somebody who hears how far it is."""
        return replace(self, options=replace(self.options, progress=progress))


def whole(path: Path | None) -> str | None:
    """`path` as a text that means the same in any folder."""
    return None if path is None else str(path.expanduser().resolve())


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
