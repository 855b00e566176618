"""bench export"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import shared_options as options
from harness.commands.output import print_json, progress

if TYPE_CHECKING:
    from harness.export import Weights
    from harness.registry import Registry
    from harness.system import Options

# Spelled out here: the module that knows them imports torch.
_FORMS = ("safetensors", "torchvision", "timm", "onnx", "paper")


@click.command(
    "export",
    epilog="Example:  bench export dense-convnet-tiny-digits digits.safetensors --to safetensors",
)
@click.argument("entry_id", metavar="ID", shell_complete=options.complete_ids)
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--to",
    "form",
    type=click.Choice(_FORMS),
    help="The form; without it, FILE must end in .safetensors or .onnx.",
)
@click.option("--seed", type=click.IntRange(0), help="Our own training: which seed (default 0).")
@click.option(
    "--epoch",
    type=click.Choice(["last", "best"]),
    help="Our own training: last (default), or best on the test set, if the recipe keeps it.",
)
@click.option("--offline", is_flag=True, help="Use only files that are here already.")
@options.data_root
@options.extra_registries
@options.as_json
def command(
    entry_id: str,
    target: Path,
    form: str | None,
    seed: int | None,
    epoch: str | None,
    offline: bool,
    data_root: Path | None,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Hand out weights, published or trained here.

    ID is a registry entry or the name of a run; an entry with a published checkpoint means that
    one, unless --seed or --epoch ask for our own training. torchvision and timm: a state dict that
    loads strictly into that library's network, checked on random pictures. onnx: any number of
    images, zeros in place. paper: a torch file that the paper's code reads.
    """
    chosen = form or {".safetensors": "safetensors", ".onnx": "onnx"}.get(target.suffix)
    if chosen is None:
        raise click.UsageError(f"say which form {target.name} should have: --to {'|'.join(_FORMS)}")
    from harness.export import export
    from harness.system import Options

    registry = options.load_registry(registries)
    with progress() as bars:
        wanted = Options(data_root=data_root, offline=offline, progress=bars)
        weights = _weights(registry, entry_id, seed, epoch, wanted)
    target.parent.mkdir(parents=True, exist_ok=True)
    how = export(weights, target, chosen)
    facts = {"entry": weights.name, "weights": weights.where, "form": chosen, "read_by": how}
    if as_json:
        print_json({**facts, "file": str(target), "size_bytes": target.stat().st_size})
    else:
        click.echo(f"{target}: {target.stat().st_size:,} bytes, {chosen}, {weights.where}")
        click.echo(f"  {how.replace('FILE', repr(target.name))}")


def _weights(
    registry: Registry, entry_id: str, seed: int | None, epoch: str | None, wanted: Options
) -> Weights:
    from harness.export import last_trained, published, trained

    id = registry.aliases.get(entry_id, entry_id)
    entry = registry.entries.get(id)
    if entry is not None and entry.checkpoint and seed is None and epoch is None:
        return published(entry, wanted)
    return trained(last_trained(id, registry.aliases), seed or 0, epoch or "last")
