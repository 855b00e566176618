"""The arithmetic of a verdict, and the faster one that is never judged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def verdict_precision() -> Iterator[None]:
    """float32 without TF32 or kernel autotuning, deterministic cuDNN; restored afterwards."""
    with _switches(tf32=False, benchmark=False, deterministic=True):
        yield


@contextmanager
def fast_precision() -> Iterator[None]:
    """TF32, kernel autotuning and whatever cuDNN finds fastest; restored afterwards."""
    with _switches(tf32=True, benchmark=True, deterministic=False):
        yield


@contextmanager
def _switches(tf32: bool, benchmark: bool, deterministic: bool) -> Iterator[None]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic)
    matmul.allow_tf32, cudnn.allow_tf32 = tf32, tf32
    cudnn.benchmark, cudnn.deterministic = benchmark, deterministic
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before
