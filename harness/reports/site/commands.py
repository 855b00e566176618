"""What to type to get a result again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from harness.registry import Entry, assignment
from harness.results import Result

_OWN_OPTION = ("start", "prune.count", "prune.amount", "prune.finetune")  # not through --set
_FIXED_BY_PRUNE = ("length",)  # what `bench prune` always sets


@dataclass(frozen=True, slots=True)
class Command:
    """One line for a shell, and what it does."""

    line: str
    purpose: str


def of_entry(entry: Entry) -> list[Command]:
    """Commands about a row of the registry."""
    lines = []
    if entry.checkpoint:
        lines += [
            Command(f"bench reproduce {entry.id}", "download, verify, evaluate, judge"),
            Command(f"bench reproduce {entry.id} --from FILE", "the same, with a file of your own"),
        ]
    if entry.recipe:
        purpose = "retrain by the recipe; first see what it would cost: --dry-run"
        lines.append(Command(f"bench reproduce {entry.id} --mode train --seeds 3", purpose))
    lines.append(Command(f"bench show {entry.id}", "everything on record, in the terminal"))
    return lines


def of_result(result: Result) -> Command:
    """The command that measures `result` again, changed settings included."""
    changed = {key: change.value for key, change in result.overrides.items()}
    if result.mode == "evaluated":
        words = ["bench", "reproduce", result.entry]
    elif result.paper is not None:
        words = ["bench", "reproduce", result.entry, "--mode", "train"]
        words += _sets(changed)
    elif result.mode == "pruned":
        words = [*_own("prune", result, changed), *_amount(changed)]
        words += _sets({k: v for k, v in changed.items() if k not in _FIXED_BY_PRUNE})
    else:
        words = [*_own("train", result, changed), *_sets(changed)]
    if len(result.runs) > 1:
        words += ["--seeds", str(len(result.runs))]
    return Command(shlex.join(words), "this result")


def _own(verb: str, result: Result, changed: dict[str, object]) -> list[str]:
    words = ["bench", verb, "--method", result.method, "--model", result.model]
    words += ["--dataset", result.dataset, "--evaluation", result.protocol.name]
    if result.recipe:
        words += ["--recipe", result.recipe.name]
    if "start" in changed:
        words += ["--start", str(changed["start"])]
    return [*words, "--name", result.entry]


def _amount(changed: dict[str, object]) -> list[str]:
    rounds = int(str(changed.get("prune.count", 1)))
    words = ["--rounds", str(rounds)] if rounds > 1 else []
    if "prune.amount" in changed:
        # Each round takes the same share of what the one before left.
        target = 1 - (1 - float(str(changed["prune.amount"]))) ** rounds
        words += ["--target", f"{target:.6g}"]
    if "prune.finetune" in changed:
        words += ["--finetune", str(changed["prune.finetune"])]
    return words


def _sets(changed: dict[str, object]) -> list[str]:
    pairs = [assignment(k, value) for k, value in changed.items() if k not in _OWN_OPTION]
    return [word for pair in pairs for word in ("--set", pair)]
