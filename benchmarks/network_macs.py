"""Multiply-accumulates of networks from elsewhere next to counts that are not ours.

Of torchvision every classifier of at most 95 M parameters, against the figure torchvision
publishes; of timm forty families, against torch's own counter, which sees each kernel as it runs.
Writes the table `reports/macs.md`.

    python -m benchmarks.network_macs            # about ten minutes on two cores
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.pages import page_of_networks
from harness.profile import DenseMacs, dense_macs
from methods.inventory import inventory

MOST_PARAMS = 95_000_000
FAMILIES, SMALL_PARAMS, SMALL_SIDE = 40, 40_000_000, 288
# Of both libraries and every kind of weight: auxiliary heads, grouped and depthwise convolutions,
# attention of four makes, "same" padding, kernels mixed from a bank, a recurrent layer.
QUICK = (
    "googlenet",
    "shufflenet_v2_x1_0",
    "mobilenet_v3_small",
    "vit_b_32",
    "swin_t",
    "swin_v2_t",
    "timm/deit_tiny_patch16_224",
    "timm/eva02_tiny_patch14_224",
    "timm/swinv2_cr_tiny_ns_224",
    "timm/convmixer_1024_20_ks9_p14",
    "timm/tf_efficientnet_cc_b0_4e",
    "timm/sequencer2d_s",
)
SMALL = ("vit_b_32", "squeezenet1_1")
REPORT = Path(__file__).resolve().parents[1] / "reports" / "macs.md"


@dataclass(frozen=True, slots=True)
class Row:
    """One network. MACs of one image; outside: parameters that are no weights, biases and norms
    not among them."""

    name: str
    side: int
    params: int
    weights: int
    found: DenseMacs
    reference: float
    reference_from: str
    outside: int
    unlisted: tuple[str, ...]  # parameters that the inventory knows nothing of

    @property
    def macs(self) -> int:
        return self.found.total + self.found.activations

    @property
    def deviation(self) -> float:
        return self.macs / self.reference - 1


def torchvision_names() -> list[str]:
    """Every classifier that torchvision publishes with at most 95 M parameters."""
    names = torchvision.models.list_models(module=torchvision.models)
    return [name for name in names if _published(name)["num_params"] <= MOST_PARAMS]


def timm_names() -> list[str]:
    """The first small network of each of forty families, evenly spread over timm's modules."""
    families: dict[str, list[str]] = {}
    for name in timm.list_models():
        families.setdefault(timm.models._registry._model_to_module[name], []).append(name)
    firsts = [_first_small(names) for _, names in sorted(families.items())]
    found = [name for name in firsts if name]
    return [f"timm/{found[i * len(found) // FAMILIES]}" for i in range(FAMILIES)]


def row(name: str) -> Row:
    """Our count of one network, and the reference; "timm/NAME" for timm's."""
    with warnings.catch_warnings():
        # Builders announce other defaults of the future, torch what its build does not have.
        warnings.simplefilter("ignore")
        return _row(name)


def _row(name: str) -> Row:
    library, _, timm_name = name.rpartition("/")
    if library:
        model = timm.create_model(timm_name).eval()
        side = int(_settings(model)["input_size"][-1])
    else:
        model = torchvision.models.get_model(name, weights=None).eval()
        side = int(_weights(name).transforms().crop_size[0])
    found = dense_macs(model, (3, side, side))
    listed = inventory(model)
    known = {id(place.stored) for weight in listed.weights for place in weight.places}
    named = {part.name for part in listed.outside}
    return Row(
        name=name,
        side=side,
        params=sum(parameter.numel() for parameter in model.parameters()),
        weights=len(listed.weights),
        found=found,
        reference=torch_count(model, side) if library else 1e9 * _published(name)["_ops"],
        reference_from="torch's counter" if library else "torchvision",
        outside=sum(part.size for part in listed.outside if part.kind not in ("bias", "norm")),
        unlisted=tuple(
            n for n, p in model.named_parameters() if id(p) not in known and n not in named
        ),
    )


def torch_count(model: nn.Module, side: int) -> float:
    """MACs by `FlopCounterMode`, with attention and recurrence in kernels that it knows."""
    model.requires_grad_(False)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    plain = torch.backends.mkldnn.flags(enabled=False)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), plain:
        model(torch.zeros(1, 3, side, side))
    torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops() / 2


def table(rows: Iterable[Row]) -> Iterator[str]:
    """Lines of the report."""
    yield "# Multiply-accumulates of networks from elsewhere"
    yield ""
    yield "MACs of one image, in millions: of weights, and of activations with one another"
    yield "(attention). reference: what torchvision publishes in thousandths of 10^9 (1 % of its"
    yield "smallest network), or torch's own counter halved."
    yield "outside: share of parameters that are no weights, without biases and norms. never runs:"
    yield "weights that no image reaches in eval mode. Made by `python -m benchmarks.network_macs`."
    yield ""
    yield (
        "| network | pixels | parameters | weights | MACs of weights | of activations | reference "
        "| from | deviation % | outside % | never runs |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |"
    for r in rows:
        cells = (
            r.name,
            r.side,
            f"{r.params:,}",
            r.weights,
            f"{r.found.total / 1e6:,.1f}",
            f"{r.found.activations / 1e6:,.1f}",
            f"{r.reference / 1e6:,.1f}",
            r.reference_from,
            f"{100 * r.deviation:.2f}",
            f"{100 * r.outside / r.params:.2f}",
            len(r.found.uncounted),
        )
        yield f"| {' | '.join(map(str, cells))} |"


def _weights(name: str) -> torchvision.models.WeightsEnum:
    return next(iter(torchvision.models.get_model_weights(name)))


def _published(name: str) -> dict[str, float]:
    meta: dict[str, float] = _weights(name).meta
    return meta


def _settings(model: nn.Module) -> dict[str, Any]:
    settings: dict[str, Any] = model.default_cfg  # type: ignore[assignment]
    return settings


def _first_small(names: Iterable[str]) -> str:
    for name in sorted(names):
        with torch.device("meta"):
            model = timm.create_model(name)
        size = _settings(model).get("input_size", (3, 0, SMALL_SIDE + 1))
        params = sum(parameter.numel() for parameter in model.parameters())
        if size[0] == 3 and size[-1] <= SMALL_SIDE and params <= SMALL_PARAMS:
            return name
    return ""


def main() -> None:
    page_of_networks(
        __doc__,
        lambda: (*torchvision_names(), *timm_names()),
        SMALL,
        row,
        lambda made: f"{100 * made.deviation:+.2f} %",
        table,
        REPORT,
    )


if __name__ == "__main__":
    main()
