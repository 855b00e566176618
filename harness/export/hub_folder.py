"""A network as a folder for a model hub: weights, the result that counts, and a card about both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ProtocolError
from harness.export.libraries import library_state
from harness.export.metadata import PREFIX, about_network
from harness.export.weights import save_tensors
from harness.models import is_own_code, parse_model_name
from harness.registry import Evaluation
from harness.results import Result, as_json, current, load_entry

if TYPE_CHECKING:
    from torch import Tensor

    from harness.export.finding import FoundNetwork
    from harness.export.weights import Weights

WEIGHTS, CARD, RESULT = "model.safetensors", "README.md", "result.json"
# Licences as the hub spells them; any other is "other", with its own name beside it.
LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause", "BSD-2-Clause", "CC-BY-4.0", "CC0-1.0", "GPL-3.0")
UNSTATED = "none stated"


@dataclass(frozen=True, slots=True)
class HubFolder:
    """What was written. license: of the weights; result: that the card tells of, None = none."""

    folder: Path
    license: str
    result: Result | None


def write_hub_folder(
    found: FoundNetwork,
    evaluation: Evaluation,
    aliases: Mapping[str, str],
    folder: Path,
    repository: str | None = None,
) -> HubFolder:
    """Write weights, card and result into the new folder `folder`.

    The tensors have torchvision's or timm's names where one of them has the network, so that its
    users need nothing of ours. aliases: former entry id -> today's. repository: ORG/NAME, for the
    card. Raises ProtocolError if the folder exists.
    """
    if folder.exists():
        raise ProtocolError(f"{folder} exists already. Name another folder: --out FOLDER")
    weights = found.weights
    about = about_network(found, evaluation)
    result = _result_of(weights, aliases)
    tensors, call = _named_elsewhere(weights)
    folder.mkdir(parents=True)
    save_tensors(tensors, folder / WEIGHTS, about)
    if result is not None:
        (folder / RESULT).write_text(as_json(result) + "\n", encoding="utf-8")
    facts = {name.removeprefix(PREFIX): text for name, text in about.items()}
    card = "\n".join([_front(facts, result), _body(facts, result, call, repository)])
    (folder / CARD).write_text(card, encoding="utf-8")
    return HubFolder(folder, facts.get("license", UNSTATED), result)


def _result_of(weights: Weights, aliases: Mapping[str, str]) -> Result | None:
    """The result that counts of these very weights."""
    stored = current.per_mode(load_entry(weights.name, aliases), aliases).values()
    for result in stored:
        if weights.maker is not None and result.mode in ("trained", "pruned"):
            return result
        if result.checkpoint is None or weights.facts is None:
            continue
        if result.checkpoint.sha256 == weights.facts.sha256:
            return result
    return None


def _named_elsewhere(weights: Weights) -> tuple[Mapping[str, Tensor], str]:
    """(tensors, the Python call that makes the network for them)."""
    if not weights.dynamic:
        for library in ("torchvision", "timm"):
            try:
                return library_state(
                    weights.network, library, weights.model, weights.classes, weights.channels
                )
            except ProtocolError:
                continue
    shape = f"num_classes={weights.classes}, in_channels={weights.channels}"
    base = parse_model_name(weights.model).base
    if is_own_code(base):
        return weights.tensors, f"{base.rpartition(':')[2]}({shape})"
    return weights.tensors, f"harness.models.build({weights.model!r}, {shape})"


def _front(facts: Mapping[str, str], result: Result | None) -> str:
    """The YAML block that a hub reads; JSON is YAML."""
    license = facts.get("license", UNSTATED)
    known = license in LICENSES
    block: dict[str, object] = {"license": license.lower() if known else "other"}
    if not known:
        block["license_name"] = license
    block["library_name"] = "reprune"
    block["pipeline_tag"] = "image-classification"
    block["tags"] = ["pruning", "sparsity", facts["method"], facts["model"]]
    top1 = result.metrics.get("top1_pct") if result else None
    if top1 is not None and top1.measured is not None:
        metric = {"type": "accuracy", "name": "top-1 %", "value": round(top1.measured, 4)}
        data = {"type": facts["dataset"], "name": facts["dataset"]}
        task = {"type": "image-classification"}
        entry = {"name": facts["entry"], "results": [{"task": task, "dataset": data}]}
        entry["results"][0]["metrics"] = [metric]  # type: ignore[index]
        block["model-index"] = [entry]
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in block.items()]
    return "\n".join(["---", *lines, "---", ""])


def _body(
    facts: Mapping[str, str], result: Result | None, call: str, repository: str | None
) -> str:
    return "\n".join(
        [
            f"# {facts['entry']}",
            "",
            f"{facts['model']} on {facts['dataset']}, pruned by {facts['method']}: "
            f"{facts['weights']}.",
            "",
            *_measured(facts, result),
            "## Load it",
            "",
            *_loading(call, repository),
            "## Prepare a picture",
            "",
            *(f"- {name}: {facts[name]}" for name in _PREPARATION if name in facts),
            "",
            "Pixels are scaled to [0, scale], then (x - mean) / std. The same facts, the class "
            f"names among them, stand in the metadata of `{WEIGHTS}`.",
            "",
        ]
    )


_PREPARATION = ("input_size", "resize", "crop", "interpolation", "channels", "scale", "mean", "std")


def _measured(facts: Mapping[str, str], result: Result | None) -> list[str]:
    if result is None:
        return [f"Not measured yet: `bench reproduce {facts['entry']}`.", ""]
    rows = ["| figure | published | measured | verdict |", "| --- | ---: | ---: | --- |"]
    for name, each in result.metrics.items():
        measured = "-" if each.measured is None else f"{each.measured:.6g}"
        said = _said(each.status, result)
        rows.append(f"| {name} | {each.published or '-'} | {measured} | {said} |")
    seeds = f", mean of {len(result.runs)} seeds" if len(result.runs) > 1 else ""
    smoke = f" A trial: {result.smoke}." if result.smoke else ""
    return [
        f"## Measured: {_said(result.verdict.status, result)}",
        "",
        f"{result.verdict.reason}. {result.n_images} images of {result.dataset}, "
        f"{facts['evaluation']}{seeds}.{smoke} The whole record is in `{RESULT}`.",
        "",
        *rows,
        "",
    ]


def _said(status: str, result: Result) -> str:
    return "own result" if status == "reported" and result.paper is None else status


def _loading(call: str, repository: str | None) -> list[str]:
    module = call.partition("(")[0].rpartition(".")[0]
    here, fetch = f'"{WEIGHTS}"', []
    if repository is not None:
        here = f'hf_hub_download("{repository}", "{WEIGHTS}")'
        fetch = ["from huggingface_hub import hf_hub_download"]
    return [
        "```python",
        f"import {module}" if module else "# the class of your own, from where you keep it",
        *fetch,
        "from safetensors.torch import load_file",
        "",
        f"network = {call}",
        f"network.load_state_dict(load_file({here}))",
        "network.eval()",
        "```",
        "",
    ]
