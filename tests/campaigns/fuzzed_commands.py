"""Command lines made of the options that click knows, good values and nonsense.

Everything runs as typed, in this process, up to four outermost edges: a forward pass of a network,
a request to a host, another program, and MLflow. There the campaign stops it.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from cli import _VERBS, main
from harness import paths
from harness.errors import MetricError
from harness.registry import load, plain_yaml
from harness.results.store import save
from tests.campaigns.campaign import Trial, campaign
from tests.campaigns.nonsense import TEXTS as ALL_TEXTS
from tests.checkpoints.conftest import saved
from tests.checkpoints.test_hostile_files import state
from tests.support.command_line import disorder, typed
from tests.support.results import made, trained

# No word can hold a zero byte, and no command may be sent out of the campaign's own folder.
TEXTS = tuple(text for text in ALL_TEXTS if not {"\x00", "/", ".."} & {*text, text[:2]})
SLOWEST_S = 20.0  # of processor time
IDS = ("dense-convnet-tiny-digits", "str-convnet-tiny-digits-90", "str-a-90", "local-gmp")
WORDS = (
    *IDS,
    *("convnet_tiny", "resnet20", "digits", "cifar10", "imagenet", "magnitude", "gmp", "acdc"),
    *("epochs=1", "settings.sparsity=0.9", "optimizer.lr=0.1", "cpu", "cuda:9", "2ep", "50it"),
    *("0.5", "1", "2", "3", "100", "top1", "macs", "csv", "json", "safetensors", "quickstart"),
    *("good.pt", "page.html", "r.yaml", "pictures", "folder:pictures", "new/out.svg", "out.png"),
    *("torch.nn:Linear", "os:system", "good.pt:X", "width=32", "list", "--", "-h", "--json"),
    *("link", "nowhere/x", "page.html/x", "20261101T120000Z-00000001"),
)


@campaign(count=20_000, sample=40)
def fuzzed_commands(trial: Trial) -> Iterator[str]:
    """Command lines through click, stopped only where a network would compute, a host be asked or
    another program begin: a documented exit code, one line that says why, nothing unprintable.
    """
    with pytest.MonkeyPatch.context() as patch:
        prepare(trial.folder, patch)
        for _ in range(trial.count):
            words = command_line(trial.rng)
            begun = time.process_time()
            told = disorder(typed(*words))
            seconds = time.process_time() - begun
            if seconds > SLOWEST_S:
                told = told or f"{seconds:.0f} s"
            yield told and f"bench {' '.join(map(repr, words))[:500]}: {told}"


def command_line(rng: random.Random) -> list[str]:
    """A verb with options that it has, in most cases with values that it could take."""
    if rng.random() < 0.02:
        return [rng.choice((*TEXTS, *WORDS)) for _ in range(rng.randint(1, 4))]
    command, words = main.get_command(_CONTEXT, verb := rng.choice(list(_VERBS))), [verb]
    while isinstance(command, click.Group):
        name = rng.choice(command.list_commands(_CONTEXT))
        command = command.get_command(_CONTEXT, name)
        words.append(name)
    assert command is not None
    for parameter in command.params:
        wanted = parameter.required and rng.random() < 0.95
        if wanted or rng.random() < (0.6 if isinstance(parameter, click.Argument) else 0.12):
            words += _given(rng, parameter)
    if rng.random() < 0.1:
        words.insert(rng.randrange(1, len(words) + 1), rng.choice((*TEXTS, *WORDS)))
    return words


_CONTEXT = click.Context(main)


def _given(rng: random.Random, parameter: click.Parameter) -> list[str]:
    names = [rng.choice(parameter.opts)] if isinstance(parameter, click.Option) else []
    if isinstance(parameter, click.Option) and (parameter.is_flag or parameter.count):
        return [rng.choice((*parameter.opts, *parameter.secondary_opts))]
    count = rng.choice((1, 1, 1, 2)) if parameter.multiple or parameter.nargs == -1 else 1
    return [word for _ in range(count) for word in (*names, _value(rng, parameter))]


def _value(rng: random.Random, parameter: click.Parameter) -> str:
    """A word that fits more often than not."""
    kind, name = parameter.type, parameter.name or ""
    if rng.random() < 0.15:
        return rng.choice(TEXTS)
    if isinstance(kind, click.Choice):
        return str(rng.choice(list(kind.choices)))
    if isinstance(kind, click.types.IntParamType):
        return rng.choice(("1", "2", "7", "64", "0", "-1", "10000000000"))
    if isinstance(kind, click.types.FloatParamType):
        return rng.choice(("0.5", "0.9", "1", "0", "1e-9", "nan", "inf"))
    if isinstance(kind, click.Path):
        return rng.choice(("good.pt", "page.html", "r.yaml", "pictures", "new.svg", *WORDS[-5:]))
    usual = {
        "model": ("convnet_tiny", "resnet20", "torch.nn:Linear"),
        "dataset": ("digits", "cifar10", "folder:pictures"),
        "method": ("dense", "magnitude", "gmp", "acdc", "str", "snip", "ftwt"),
        "entry_id": IDS,
        "entry_ids": IDS,
        "assignments": ("epochs=1", "settings.sparsity=0.9", "batch=0", "optimizer=1", "x=y"),
    }
    return rng.choice(usual.get(name, WORDS) if rng.random() < 0.7 else WORDS)


def prepare(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """A home with a few results and files, a small registry of its own, and the edges closed."""
    patch.chdir(folder)
    patch.setenv("BENCH_HOME", str(folder / "home"))
    patch.setenv("BENCH_RECORD", str(folder / "record"))
    patch.delenv("COLUMNS", raising=False)
    registry = folder / "registry.yaml"
    registry.write_text(json.dumps(small_registry()))
    patch.setattr(paths, "registry_file", lambda: registry)
    load()  # one that cannot be read would end every command at its first step
    save(made())
    save(trained(entry="local-gmp"))
    (folder / "good.pt").write_bytes(saved(state()))
    (folder / "page.html").write_text("<!DOCTYPE html>")
    (folder / "r.yaml").write_text("version: 1\n")
    (folder / "pictures").mkdir()
    (folder / "link").symlink_to("pictures")
    close_the_edges(patch)


def small_registry() -> dict[str, Any]:
    """What the registry says of the digits: all of it would be read anew for each command line."""
    whole: dict[str, Any] = dict(plain_yaml.read(paths.registry_file()).root)
    whole["families"] = [f for f in whole["families"] if f.get("dataset") == "digits"]
    whole["suites"], whole["queues"] = {"quickstart": list(IDS[:2])}, {}
    for part in ("recipes", "evaluations"):
        whole[part] = {name: v for name, v in whole[part].items() if "digits" in name}
    for part in ("papers", "external_methods"):
        used = {str(f.get(part[:5])) for f in whole["families"]}
        whole[part] = {name: v for name, v in whole[part].items() if name in used}
    whole["defaults"] = {"digits": whole["defaults"]["digits"]}
    return whole


def close_the_edges(patch: pytest.MonkeyPatch) -> None:
    import mlflow
    import requests
    import torch

    def stopped(*_: object, **__: object) -> Any:
        raise MetricError("the campaign stops here")

    def no_host(*_: object, **__: object) -> Any:
        raise requests.ConnectionError("the campaign has no network")

    run = subprocess.run

    def no_program(typed_words: Any, *rest: Any, **named: Any) -> Any:
        return run(["true"] if "mlflow" in typed_words else typed_words, *rest, **named)

    patch.setattr(torch.nn.Module, "__call__", stopped)
    patch.setattr(requests.Session, "send", no_host)
    patch.setattr(subprocess, "run", no_program)
    patch.setattr(mlflow, "MlflowClient", stopped)
    patch.setattr(time, "sleep", lambda seconds: None)
