"""bench export"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import network_options
from harness.commands import shared_options as options
from harness.commands.number_types import WholeNumber
from harness.commands.output import print_json
from harness.commands.run_options import RunOptions, reading_weights
from harness.commands.visible_text import say_line

if TYPE_CHECKING:
    from harness.export import NetworkName
    from harness.system import Reading

# Spelled out here: the module that knows them imports torch.
_OF_SUFFIX = {".safetensors": "safetensors", ".onnx": "onnx", ".sparse": "sparse"}
_FORMS = ("safetensors", "torchvision", "timm", "onnx", "sparse", "paper")


@click.command(
    "export",
    epilog="Example:  bench export dense-convnet-tiny-digits digits.safetensors --to safetensors",
)
@click.argument("words", metavar="[ID] FILE", nargs=-1, shell_complete=options.complete_ids)
@network_options.named
@options.reading
@click.option(
    "--to",
    "form",
    type=click.Choice(_FORMS),
    help="The form; without it, FILE must end in .safetensors, .onnx or .sparse.",
)
@click.option("--seed", type=WholeNumber(0), help="Our own training: which seed (default 0).")
@click.option(
    "--epoch",
    type=click.Choice(["last", "best"]),
    help="Our own training: last (default), or best on the test set, if the recipe keeps it.",
)
@click.option("--offline", is_flag=True, help="Use only files that are here already.")
@reading_weights
def command(
    words: tuple[str, ...],
    what: NetworkName,
    reading: Reading,
    form: str | None,
    seed: int | None,
    epoch: str | None,
    offline: bool,
    run: RunOptions,
) -> None:
    """Hand out weights, published or trained here.

    ID is a registry entry or the name of a run (of code of your own: with its --model); --model,
    --dataset and --weights name a file instead.
    An entry with a published checkpoint means that one, unless --seed or --epoch ask for our own
    training. torchvision and timm: a state dict that loads strictly into that library's network,
    checked on random pictures. onnx: any number of images, zeros in place. sparse: zeros skipped,
    measured on this machine, for harness.sparse.load. paper: a torch file that the paper's code
    reads. safetensors and ONNX files say in their metadata (`reprune.mean`, ...) how a picture is
    prepared and what the outputs are called.
    """
    target = _target(words, what)
    what = replace(what, word=words[0] if len(words) > 1 else None, seed=seed, epoch=epoch)
    chosen = form or _OF_SUFFIX.get(target.suffix)
    if chosen is None:
        raise click.UsageError(f"say which form {target.name} should have: --to {'|'.join(_FORMS)}")
    from harness.export import about_network, export, find_network
    from harness.registry import input_shape

    registry = run.registry()
    with run.begun(offline=offline, reading=reading) as (wanted, _):
        found = find_network(what, registry, wanted)
    weights = found.weights
    target.parent.mkdir(parents=True, exist_ok=True)
    evaluation = registry.evaluations[found.entry.evaluation]
    about = about_network(found, evaluation)
    how = export(weights, target, chosen, about, input_shape(evaluation))
    facts = {"entry": weights.name, "weights": weights.where, "form": chosen, "read_by": how}
    if run.as_json:
        print_json({**facts, "file": str(target), "size_bytes": target.stat().st_size})
    else:
        say_line(f"{target}: {target.stat().st_size:,} bytes, {chosen}, {weights.where}")
        say_line(f"  {how.replace('FILE', repr(target.name))}")


def _target(words: tuple[str, ...], what: NetworkName) -> Path:
    """The file to write: the last word, after an ID, or alone with --model."""
    if len(words) not in (1, 2) or (len(words) == 1 and what.model is None):
        raise click.UsageError("give ID FILE, or --model NAME --dataset NAME --weights FILE FILE")
    target = Path(words[-1])
    if target.is_dir():
        raise click.UsageError(f"{words[-1]} is a folder; name a file in it")
    return target
