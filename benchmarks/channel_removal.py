"""Half of the channels cut from networks of many families: what remains, or why nothing can go.

Every network is cut, written and read again; the file's network must answer a picture bit for bit
as the one that was cut, which itself was compared with zeros in place. Writes `reports/shrink.md`.

    python -m benchmarks.channel_removal            # about twenty minutes on two cores
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.pages import page_of_networks
from harness.checkpoints import Origin, load_shrunk, save_narrowed
from harness.errors import BenchError
from harness.export import OUTPUTS, remove_channels_
from harness.models import build, input_size

SHARE = 0.5
# Families of both libraries: plain, residual, dense, grouped, depthwise and mixed convolutions,
# squeeze and excitation, attention of several makes, mixers, changed weights, padded shortcuts.
NETWORKS = (
    *("alexnet", "vgg11_bn", "squeezenet1_1", "googlenet", "inception_v3", "resnet18", "resnet50"),
    *("wide_resnet50_2", "resnext50_32x4d", "densenet121", "mobilenet_v2", "mobilenet_v3_small"),
    *("mnasnet0_5", "shufflenet_v2_x1_0", "regnet_y_400mf", "efficientnet_b0"),
    *("efficientnet_v2_s", "convnext_tiny", "vit_b_32", "swin_t", "swin_v2_t", "maxvit_t"),
    *("resnet20", "resnet56_projection", "wrn28_10", "densenet121_cifar", "vgg16_bn_cifar"),
    *("timm/convnext_atto", "timm/convnextv2_atto", "timm/vit_tiny_patch16_224"),
    *("timm/deit_tiny_patch16_224", "timm/mixer_s32_224", "timm/resmlp_12_224"),
    *("timm/gmlp_ti16_224", "timm/poolformer_s12", "timm/mobilevit_xxs", "timm/edgenext_xx_small"),
    *("timm/ghostnet_100", "timm/mobilenetv3_small_100", "timm/lcnet_050", "timm/mixnet_s"),
    *("timm/repvgg_a0", "timm/resnetv2_50", "timm/nf_regnet_b0", "timm/eca_nfnet_l0"),
    *("timm/tf_efficientnet_cc_b0_4e", "timm/convmixer_768_32", "timm/rexnet_100"),
    *("timm/selecsls42b", "timm/dla34", "timm/res2net50_26w_4s", "timm/cspresnet50"),
)
SMALL = ("squeezenet1_1", "shufflenet_v2_x0_5", "timm/convnext_atto")
REPORT = Path(__file__).resolve().parents[1] / "reports" / "shrink.md"


@dataclass(frozen=True, slots=True)
class Row:
    """One network. Counts are of parameters; groups: of layers that share their channels."""

    name: str
    params: int
    left: int
    cut: int
    whole: int
    note: str  # why groups stayed whole, or nothing was cut
    seconds: float


def row(name: str) -> Row:
    """One network cut, written and read again. Raises MetricError if the file answers otherwise."""
    torch.manual_seed(0)
    started = time.perf_counter()
    network = build(name).eval()
    images = torch.randn(1, 3, *2 * (input_size(name),))
    params = _params(network)
    try:
        removal = remove_channels_(network, images, SHARE)
        with tempfile.TemporaryDirectory() as folder:
            save_narrowed(network, Origin(name), images, Path(folder) / "cut.safetensors")
            again = load_shrunk(Path(folder) / "cut.safetensors")
        with torch.inference_mode():
            assert torch.equal(again(images), network(images)), name
    except BenchError as error:
        return Row(name, params, params, 0, 0, str(error), time.perf_counter() - started)
    reasons = [reason for reason in removal.whole.values() if reason != OUTPUTS]
    refusals = "; ".join(dict.fromkeys(reasons))
    took = time.perf_counter() - started
    return Row(name, params, _params(network), len(removal.cut), len(reasons), refusals, took)


def _params(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def table(rows: Iterable[Row]) -> Iterator[str]:
    """The report as lines of Markdown."""
    rows = list(rows)
    done = [r for r in rows if r.cut]
    yield "# Channels cut from networks of many families"
    yield ""
    yield (
        f"`bench shrink --model NAME --channels {SHARE:g}`, fresh weights, one picture of the "
        f"network's own size: {len(done)} of {len(rows)} networks lose channels, the others are "
        "refused before anything is written. A group of layers that share their channels loses "
        "them where that equals zeros in its readers (checked on the outputs, 1e-4 of the largest "
        "logit); a group that would change the answers stays whole. The file that is written "
        "answers bit for bit as the network that was cut. Made by "
        "`python -m benchmarks.channel_removal`."
    )
    yield ""
    yield "| network | parameters | left | left % | groups cut | whole | why whole or refused | s |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: |"
    for r in rows:
        cells = (
            *(r.name, f"{r.params:,}", f"{r.left:,}", f"{100 * r.left / r.params:.1f}"),
            *(r.cut, r.whole, r.note, f"{r.seconds:.0f}"),
        )
        yield f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    page_of_networks(
        __doc__,
        lambda: NETWORKS,
        SMALL,
        row,
        lambda made: f"{made.cut} groups cut",
        table,
        REPORT,
    )


if __name__ == "__main__":
    main()
