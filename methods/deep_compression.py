"""Deep Compression: magnitude pruning with retraining, weight sharing, Huffman-coded sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from methods.base import Schedule
from methods.huffman import coded_bits
from methods.masked import LayerSettings, MaskedMethod, Sparsity
from methods.masks import Masks, kept_count

GAP_BITS = 4  # SqueezeNet's: an entry lies 1 to 16 positions after the one before it
FLOAT_BYTES = 4
KMEANS_ITERATIONS = 300


def std_masks(weights: Mapping[str, Tensor], sensitivity: float) -> Masks:
    """Masks of the weights with |w| >= sensitivity * std of their layer (spec 5.1, stage 1).

    The standard deviation is the population's, zeros included, in float64.
    """
    masks: Masks = {}
    for name, weight in weights.items():
        threshold = sensitivity * weight.detach().double().std(correction=0)
        masks[name] = weight.detach().abs().double() >= threshold
    return masks


def percentile_masks(weights: Mapping[str, Tensor], percent: float) -> Masks:
    """Masks of the weights with |w| >= the given percentile of all non-zero |w| together.

    percent: 0..100, linear interpolation between the two nearest magnitudes.
    Raises ValueError outside that range, or if every weight is zero.
    """
    if not 0 <= percent <= 100:
        msg = f"percentile {percent} is outside 0..100; 90 removes the smallest 90 % of the weights"
        raise ValueError(msg)
    magnitudes = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    magnitudes = magnitudes[magnitudes > 0]
    if not len(magnitudes):
        msg = "every weight is zero, so no percentile exists; load trained weights before pruning"
        raise ValueError(msg)
    position = percent / 100 * (len(magnitudes) - 1)
    below = int(position)
    low = magnitudes.kthvalue(below + 1).values.double()
    high = magnitudes.kthvalue(min(below + 2, len(magnitudes))).values.double()
    threshold = low + (high - low) * (position - below)
    return {name: w.detach().abs().double() >= threshold for name, w in weights.items()}


def share_weights(weight: Tensor, bits: int) -> Tensor:
    """`weight` with its non-zero values replaced by their k-means centroids; zeros stay.

    2**bits - 1 centroids, started evenly between the smallest and the largest non-zero value
    (one start, so the result is reproducible); a weight with fewer distinct values is unchanged.
    Deviation: the paper's code uses 2**bits centroids; one code is left for the zeros that bridge
    long gaps, as in the published SqueezeNet file.
    """
    from sklearn.cluster import KMeans

    values = weight.detach()[weight.detach() != 0].cpu()
    clusters = 2**bits - 1
    if len(values.unique()) <= clusters:
        return weight.detach().clone()
    start = torch.linspace(float(values.min()), float(values.max()), clusters)
    fitted = KMeans(clusters, init=start[:, None].numpy(), n_init=1, max_iter=KMEANS_ITERATIONS)
    fitted.fit(values[:, None].numpy())
    centroids = torch.from_numpy(fitted.cluster_centers_[:, 0])
    chosen = centroids[torch.from_numpy(fitted.labels_).long()]
    shared = torch.zeros_like(weight, requires_grad=False)
    shared[weight.detach() != 0] = chosen.to(weight.device, weight.dtype)
    return shared


@dataclass(frozen=True, slots=True)
class LayerSize:
    """Bytes of one tensor after each stage; codebooks and code tables included.

    entries: stored entries, the non-zero weights and the zeros that bridge long gaps.
    dense: float32. pruned: float32 and a gap per entry. shared: a code and a gap per entry, and
    the codebook. huffman: codes and gaps Huffman-coded, with one byte per symbol for the code
    lengths. None where the values are not shared among that many bits.
    code_bits, gap_bits: all codes and all gaps when Huffman-coded, their tables not included.
    """

    name: str
    weights: int
    nonzero: int
    entries: int
    dense_bytes: int
    pruned_bytes: int
    shared_bytes: int | None
    huffman_bytes: int | None
    code_bits: int | None = None
    gap_bits: int | None = None


@dataclass(frozen=True, slots=True)
class Widths:
    """Bits of a code and of a gap. layers: pattern -> bits of its codes, the first match counts."""

    bits: int = 8
    layers: Mapping[str, int] = field(default_factory=dict)
    gap: int = GAP_BITS

    def of(self, layer: str) -> int:
        """Bits of a code in `layer`."""
        own = [bits for pattern, bits in self.layers.items() if fnmatchcase(layer, pattern)]
        return own[0] if own else self.bits


def size_report(
    weights: Mapping[str, Tensor], bits: int = 8, widths: Widths | None = None
) -> list[LayerSize]:
    """Size of every float tensor of a state dict after each stage of Deep Compression.

    bits: width of a code; widths: of codes and gaps, instead. Vectors (biases, batch norm) stay
    float32 in every stage. Use `total_size` for the last row of a table.
    """
    chosen = widths or Widths(bits)
    return [
        layer_size(name, tensor, chosen.of(name.removesuffix(".weight")), chosen.gap)
        for name, tensor in weights.items()
        if tensor.is_floating_point()
    ]


def layer_size(name: str, weight: Tensor, bits: int, gap_bits: int = GAP_BITS) -> LayerSize:
    """Size of one tensor after each stage; see LayerSize and size_report."""
    flat = weight.detach().flatten().cpu()
    dense = FLOAT_BYTES * flat.numel()
    nonzero = int(flat.count_nonzero())
    if weight.dim() < 2:
        return LayerSize(name, flat.numel(), nonzero, flat.numel(), dense, dense, dense, dense)
    gaps, positions = relative_index(flat, gap_bits)
    entries = len(gaps)
    pruned = FLOAT_BYTES * entries + _bytes(gap_bits * entries)
    values, codes = flat[flat != 0].unique(return_inverse=True)
    if len(values) >= 2**bits:
        return LayerSize(name, flat.numel(), nonzero, entries, dense, pruned, None, None)
    stored = torch.zeros(entries, dtype=torch.int64)
    stored[positions] = codes + 1
    code_counts = torch.bincount(stored, minlength=2**bits).tolist()
    gap_counts = torch.bincount(gaps, minlength=2**gap_bits).tolist()
    codebook = FLOAT_BYTES * 2**bits
    shared = _bytes(bits * entries) + _bytes(gap_bits * entries) + codebook
    coded = coded_bits(code_counts), coded_bits(gap_counts)
    huffman = _bytes(coded[0]) + _bytes(coded[1])
    huffman += codebook + len(code_counts) + len(gap_counts)
    return LayerSize(name, flat.numel(), nonzero, entries, dense, pruned, shared, huffman, *coded)


def total_size(layers: Iterable[LayerSize]) -> LayerSize:
    """The sums over all layers, named "total"; None where a layer has no such size."""
    rows = list(layers)

    def summed(sizes: list[int | None]) -> int | None:
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    return LayerSize(
        "total",
        sum(row.weights for row in rows),
        sum(row.nonzero for row in rows),
        sum(row.entries for row in rows),
        sum(row.dense_bytes for row in rows),
        sum(row.pruned_bytes for row in rows),
        summed([row.shared_bytes for row in rows]),
        summed([row.huffman_bytes for row in rows]),
        summed([row.code_bits for row in rows]),
        summed([row.gap_bits for row in rows]),
    )


def stage_figures(model: nn.Module, widths: Widths) -> dict[str, float]:
    """The columns of Deep Compression's tables for `model`, whose weights are shared already.

    As printed there: codebooks count, the tables of the Huffman codes do not.

    Per layer as "figure.LAYER" and over all matrices as "figure": weight_bits and index_bits per
    stored entry, the same after Huffman coding, and bytes in percent of float32 after weight
    sharing and after Huffman coding. compression_ratio and size_kb (1000 bytes): the last stage
    of the whole network, biases as float32 included. {} where a layer's values are not shared.
    """
    sizes = size_report(model.state_dict(), widths=widths)
    rows = [_without_tables(row, widths) for row in sizes]
    matrices = [row for row in rows if row.code_bits is not None]
    whole = total_size(rows)
    if whole.huffman_bytes is None or not matrices:
        return {}
    coded = whole.huffman_bytes
    figures = {
        "size_kb": coded / 1000,
        "compression_ratio": whole.dense_bytes / coded,
        "weight_bits": sum(widths.of(_layer(row)) * row.entries for row in matrices)
        / sum(row.entries for row in matrices),
        **_coded(total_size(matrices), widths.gap, ""),
    }
    for row in matrices:
        figures[f"weight_bits.{_layer(row)}"] = float(widths.of(_layer(row)))
        figures |= _coded(row, widths.gap, f".{_layer(row)}")
    return figures


def _without_tables(row: LayerSize, widths: Widths) -> LayerSize:
    if row.huffman_bytes is None or row.code_bits is None:
        return row
    tables = 2 ** widths.of(_layer(row)) + 2**widths.gap
    return replace(row, huffman_bytes=row.huffman_bytes - tables)


def _layer(row: LayerSize) -> str:
    return row.name.removesuffix(".weight")


def _coded(row: LayerSize, gap: int, suffix: str) -> dict[str, float]:
    stages = (row.shared_bytes, row.huffman_bytes, row.code_bits, row.gap_bits)
    shared, huffman, codes, gaps = (float(stage or 0) for stage in stages)
    figures = {
        "index_bits": float(gap),
        "shared_pct": 100 * shared / row.dense_bytes,
        "huffman_weight_bits": codes / row.entries,
        "huffman_index_bits": gaps / row.entries,
        "huffman_pct": 100 * huffman / row.dense_bytes,
    }
    return {f"{name}{suffix}": value for name, value in figures.items()}


def relative_index(flat: Tensor, gap_bits: int = GAP_BITS) -> tuple[Tensor, Tensor]:
    """(gaps of all stored entries, which of the entries are the non-zero values), both int64.

    Entry k lies gap + 1 positions after entry k-1, the first after position -1. A distance above
    2**gap_bits is bridged by entries of value zero, each 2**gap_bits positions on.
    """
    reach = 2**gap_bits
    places = flat.nonzero().squeeze(1)
    distances = places.diff(prepend=torch.tensor([-1]))
    bridges = (distances - 1) // reach
    positions = (bridges + 1).cumsum(0) - 1
    gaps = torch.full((int((bridges + 1).sum()),), reach - 1)
    gaps[positions] = distances - bridges * reach - 1
    return gaps, positions


class DeepCompressionSettings(LayerSettings):
    """Settings of Deep Compression.

    rule: "percentile" = one threshold for all chosen layers, `sparsity` of the non-zero weights
    fall; "std" = `sensitivity` x the layer's standard deviation; "zeros" = nothing falls, the
    weights that are 0 at the start stay 0. prune_epoch: epoch before which the weights fall; the
    rest retrains the survivors.
    share_bits: width of the shared codes of the final network, None = not shared; layer_bits:
    layer pattern -> another width. With rule "zeros" weights are shared before the first step and
    training moves the shared values: a value's gradient is the sum over the weights that have it.
    index_bits: width of a gap, for the sizes that are reported.
    """

    rule: Literal["percentile", "std", "zeros"] = "percentile"
    sparsity: Sparsity | None = None
    sensitivity: float = Field(default=2.0, gt=0)
    prune_epoch: int = Field(default=0, ge=0)
    share_bits: int | None = Field(default=None, ge=1, le=16)
    layer_bits: dict[str, int] = Field(default_factory=dict)
    index_bits: int = Field(default=GAP_BITS, ge=1, le=16)

    @property
    def widths(self) -> Widths:
        """Bits of codes and gaps. Without sharing, those of codes mean nothing."""
        return Widths(self.share_bits or 8, self.layer_bits, self.index_bits)


class DeepCompression(MaskedMethod):
    """Prune once by magnitude, retrain with masked gradients, then share the weights."""

    name: ClassVar[str] = "deep-compression"
    Settings = DeepCompressionSettings
    settings: DeepCompressionSettings

    def __init__(self, settings: DeepCompressionSettings) -> None:
        super().__init__(settings)
        self._codes: dict[str, Tensor] = {}  # layer -> which shared value each weight has

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        """Take over the weights. Raises ValueError without a sparsity for rule "percentile"."""
        if schedule.epochs and self.settings.rule == "percentile" and not self.settings.sparsity:
            msg = (
                f"{self.name}: rule 'percentile' has no sparsity to train at; set sparsity=0.9 "
                "(share of zeros) or rule='std'"
            )
            raise ValueError(msg)
        self.adopt(model)

    def begin_epoch(self, epoch: int) -> None:
        """Stage 1, once; by rule "zeros" also stage 2."""
        if self.settings.rule == "zeros":
            if epoch == 0:
                self.set_masks(
                    {name: weight.detach() != 0 for name, weight in self.weights.items()}
                )
                self._share(self.weights)
                self._read_codes()
        elif epoch == self.settings.prune_epoch and not self._pruned:
            if self.settings.rule == "std":
                self.set_masks(std_masks(self.weights, self.settings.sensitivity))
            else:
                percent = 100 * (self.settings.sparsity or 0.0)
                self.set_masks(percentile_masks(self.weights, percent))

    def prune(self, model: nn.Module, sparsity: float, images: Tensor | None = None) -> None:
        """Prune the smallest weights of all chosen layers to exactly `sparsity`; no images used.

        Raises ValueError when more than that is pruned already.
        """
        self.adopt(model)
        total = sum(mask.numel() for mask in self.masks.values())
        self.prune_to(kept_count(total, sparsity), "global")

    def finalize(self, model: nn.Module) -> nn.Module:
        """`model` with zeros in place and, if asked for, shared weights."""
        super().finalize(model)
        self._share({name: each.within(model).stored for name, each in self.chosen.items()})
        return model

    def after_backward(self) -> None:
        super().after_backward()
        for name, codes in self._codes.items():
            weight = self.chosen[name]
            if weight.parameter.grad is not None:
                grad = weight.take(weight.parameter.grad)
                sums = grad.new_zeros(int(2 ** self.settings.widths.of(name)))
                sums.index_add_(0, codes, grad.flatten())
                grad.copy_(sums[codes].view_as(grad))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        if self.settings.rule == "zeros":
            self._read_codes()

    def figures(self, model: nn.Module, batches: Iterable[Tensor]) -> Mapping[str, float | Tensor]:
        """Bits and bytes after weight sharing and after Huffman coding, if weights are shared."""
        return stage_figures(model, self.settings.widths) if self.settings.share_bits else {}

    def _share(self, weights: Mapping[str, Tensor]) -> None:
        if self.settings.share_bits is not None:
            with torch.no_grad():
                for name, weight in weights.items():
                    weight.copy_(share_weights(weight, self.settings.widths.of(name)))

    def _read_codes(self) -> None:
        """Tell the groups of equal weights apart; 0 is one of them."""
        if self.settings.share_bits is not None:
            self._codes = {
                name: weight.detach().flatten().unique(return_inverse=True)[1]
                for name, weight in self.weights.items()
            }


def _bytes(bits: int) -> int:
    return (bits + 7) // 8
