"""Which weights stay: exact selection by score, N:M groups, and masks as compact bits.

A mask is a bool tensor with its weight's shape, True = keep. Every selection here keeps exactly
the count asked for; equal scores are decided by position, the earlier one stays. Nothing here
synchronises with the host, so a selection may run inside a training step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Masks = dict[str, Tensor]


def kept_count(total: int, sparsity: float) -> int:
    """How many of `total` weights stay at `sparsity`: total - round(sparsity * total).

    round is Python's (half to even) on the float64 product. Raises ValueError outside 0..1.
    """
    if not 0.0 <= sparsity <= 1.0:
        raise ValueError(
            f"sparsity {sparsity} is not a fraction; give a value from 0 to 1 (0.9 = 90 % zeros)"
        )
    return total - round(sparsity * total)


def keep_largest(scores: Tensor, k: int) -> Tensor:
    """The mask of the `k` largest scores: bool, shape of `scores`, exactly k True.

    Ties go to the earlier position in row-major order, whatever the memory format.
    Scores must not be NaN. Raises ValueError unless 0 <= k <= scores.numel().
    """
    total = scores.numel()
    if not 0 <= k <= total:
        raise ValueError(f"cannot keep {k} of {total} scores; give a count from 0 to {total}")
    if k == 0 or k == total:
        return torch.full_like(scores, k == total, dtype=torch.bool)
    flat = scores.detach().reshape(-1)
    threshold = kth_largest(flat, k)
    above = flat > threshold
    tied = flat == threshold
    missing = k - above.sum(dtype=torch.int32)
    keep = above | (tied & (tied.cumsum(0, dtype=torch.int32) <= missing))
    return keep.view(scores.shape)


def kth_largest(flat: Tensor, k: int) -> Tensor:
    """The k-th largest value of a 1-D tensor, 1 <= k <= numel, as a 0-d tensor on its device."""
    if flat.is_cuda:
        return kth_by_topk(flat, k)
    return flat.kthvalue(flat.numel() - k + 1).values


def kth_by_topk(flat: Tensor, k: int) -> Tensor:
    """The k-th largest value, by the shorter of two selections.

    For CUDA: kthvalue there scans a row with one block and is refused under deterministic
    algorithms.
    """
    total = flat.numel()
    if 2 * k <= total:
        return flat.topk(k, sorted=False).values.min()
    return flat.topk(total - k + 1, largest=False, sorted=False).values.max()


def global_topk(scores: Mapping[str, Tensor], k: int) -> Masks:
    """Masks of the `k` largest scores over all tensors together, exactly k True in total.

    Ties go to the tensor registered first, then to the lower row-major position.
    Raises ValueError unless 0 <= k <= total count.
    """
    if not scores:
        return {}
    flat = torch.cat([score.detach().reshape(-1) for score in scores.values()])
    parts = keep_largest(flat, k).split([score.numel() for score in scores.values()])
    return {name: part.view(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


def n_of_m(weight: Tensor, n: int, m: int) -> Tensor:
    """The mask of the `n` largest |w| in every group of `m` consecutive weights.

    A conv weight (O,I,*kernel) is read in the order (O,*kernel,I), so groups run along the input
    channels; a matrix row by row. Groups may straddle rows. Ties: the earlier one stays.
    Raises ValueError when m does not divide the number of weights, or for another rank.
    """
    if not 0 <= n <= m or m < 1:
        raise ValueError(f"{n}:{m} is no N:M pattern; use 0 <= N <= M, such as 2:4")
    if weight.dim() < 2:
        raise ValueError(f"N:M needs a conv or linear weight, got shape {tuple(weight.shape)}")
    if weight.numel() % m:
        raise ValueError(
            f"{n}:{m} does not divide a weight of shape {tuple(weight.shape)} "
            f"({weight.numel()} values); exclude that layer or choose another M"
        )
    scores = weight.detach().abs().movedim(1, -1)
    order = scores.reshape(-1, m).argsort(dim=1, descending=True, stable=True)
    keep = (order.argsort(dim=1) < n).view(scores.shape)
    return keep.movedim(-1, 1).contiguous()


def multipliers(weights: Iterable[Tensor], masks: Iterable[Tensor]) -> list[Tensor]:
    """Masks as 0/1 tensors with the dtype, device and strides of their weights.

    Same strides keep `torch._foreach_mul_` on its one-kernel path.
    """
    return [
        torch.empty_like(weight, requires_grad=False).copy_(mask)
        for weight, mask in zip(weights, masks, strict=True)
    ]


def pack(mask: Tensor) -> Tensor:
    """The mask as bits: uint8 on the CPU, ceil(numel / 8) bytes, lowest bit first."""
    flat = mask.detach().reshape(-1).to("cpu", torch.uint8)
    padded = torch.nn.functional.pad(flat, (0, -flat.numel() % 8))
    return (padded.view(-1, 8) << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def unpack(bits: Tensor, shape: Iterable[int]) -> Tensor:
    """The bool mask of `shape` that `pack` turned into `bits`.

    Raises ValueError when the number of bytes does not fit the shape.
    """
    size = torch.Size(shape)
    if bits.numel() != -(-size.numel() // 8):
        raise ValueError(
            f"a packed mask of {bits.numel()} bytes does not fit shape {tuple(size)}; "
            "the saved state belongs to another network"
        )
    flat = (bits.cpu()[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    return flat.reshape(-1)[: size.numel()].bool().view(size)
