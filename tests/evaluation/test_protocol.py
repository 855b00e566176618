"""Evaluation counts against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, top_k_accuracy_score
from torch import nn

from harness.errors import MetricError
from harness.evaluation.protocol import evaluate
from harness.system.precision import verdict_precision

LOSS_TOLERANCE = 1e-5  # float32 log-softmax against float64


class Lookup(nn.Module):
    """Returns stored logits: the image is its own row number."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[images[:, 0, 0, 0].long()]


def batches(labels: torch.Tensor, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rows = torch.arange(len(labels), dtype=torch.float32).view(-1, 1, 1, 1)
    return list(zip(rows.split(size), labels.split(size), strict=True))


@pytest.fixture
def problem() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(137, 10, generator=generator)
    return logits, torch.randint(10, (137,), generator=generator)


def test_counts_equal_scikit_learn(problem: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = problem
    found = evaluate(Lookup(logits), batches(labels, 25)).counts
    truth = labels.numpy()
    for k, count in ((1, found.top1), (3, found.top3), (5, found.top5)):
        expected = top_k_accuracy_score(truth, logits.numpy(), k=k, normalize=False)
        assert count == int(expected)
    probabilities = logits.double().softmax(1).numpy()
    assert found.loss == pytest.approx(
        log_loss(truth, probabilities, labels=range(10)), abs=LOSS_TOLERANCE
    )


def test_predictions_are_kept_in_order(problem: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = problem
    found = evaluate(Lookup(logits), batches(labels, 32))
    assert found.predictions.dtype == np.uint16
    assert (found.predictions == logits.argmax(1).numpy()).all()


def test_batch_size_does_not_change_counts(problem: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = problem
    assert (
        evaluate(Lookup(logits), batches(labels, 1)).counts.top5
        == evaluate(Lookup(logits), batches(labels, 137)).counts.top5
    )


def test_constant_logits_score_one_class_only() -> None:
    labels = torch.arange(10).repeat(3)
    found = evaluate(Lookup(torch.zeros(30, 10)), batches(labels, 7)).counts
    assert (found.top1, found.top3, found.top5) == (3, 9, 15)


def test_fewer_than_five_classes_work() -> None:
    labels = torch.tensor([0, 1, 1])
    found = evaluate(Lookup(torch.eye(3)[:, :2]), batches(labels, 2)).counts
    assert (found.top1, found.top5, found.n) == (2, 3, 3)


def test_non_finite_logits_are_refused() -> None:
    logits = torch.zeros(4, 3)
    logits[2, 0] = float("nan")
    with pytest.raises(MetricError, match="non-finite"):
        evaluate(Lookup(logits), batches(torch.zeros(4, dtype=torch.long), 2))


def test_no_images_is_an_error() -> None:
    with pytest.raises(MetricError, match="no images"):
        evaluate(Lookup(torch.zeros(1, 3)), [])


def test_a_module_that_stays_in_training_mode_is_refused() -> None:
    class Stubborn(nn.Dropout):
        def train(self, mode: bool = True) -> "Stubborn":
            return self

    with pytest.raises(MetricError, match="training mode"):
        evaluate(nn.Sequential(Stubborn()), [])


def test_precision_switches_are_restored() -> None:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        with verdict_precision():
            assert not torch.backends.cudnn.benchmark
            assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.benchmark
    finally:
        torch.backends.cudnn.benchmark = before
