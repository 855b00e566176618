"""Settings of IPruning and EDropout."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from methods.base import Settings as BaseSettings
from methods.ipruning.released import ED06_WINDOW, IP_WINDOW

MIN_CANDIDATES = 4  # a slot and three other parents


class SearchSettings(BaseSettings):
    """Settings of both searches.

    variant: "intended" = the algorithm as described; "released" = what the public code computes.
    candidates: population size. p_init: chance of a one at the start.
    early_epoch: from this epoch on the search may stop (EDropout) or stops (IPruning).
    patience: generations without a change of the best state after which "intended" stops.
    live_costs: evaluate parents and trials on the same batch; None = only in "intended".
    evaluate_images: only the first so many images of a batch; evaluate_every: only every so many
    batches. Both change the search and are off by default.
    batches_per_epoch: batches an epoch has before convergence; the training loop asks for it.
    network: what a finished search hands over, "pruned" = (P), the best state's zeros in place, or
    "full" = (F), every filter on. It moves no step of the training.
    """

    variant: Literal["intended", "released"] = "intended"
    candidates: int = Field(default=8, ge=MIN_CANDIDATES)
    p_init: float = Field(default=0.5, gt=0, lt=1)
    early_epoch: int = Field(default=100, ge=0)
    patience: int = Field(default=IP_WINDOW, ge=1)
    live_costs: bool | None = None
    evaluate_images: int | None = Field(default=None, ge=1)
    evaluate_every: int = Field(default=1, ge=1)
    batches_per_epoch: int | None = Field(default=None, ge=1)
    network: Literal["pruned", "full"] = "pruned"


class IPruningSettings(SearchSettings):
    """Settings of IPruning. keep_rate: kept ratio below which a state is penalised."""

    keep_rate: float = Field(default=0.1, ge=0, le=1)


class EDropoutSettings(SearchSettings):
    """Settings of EDropout. layout: None = "ip" if intended, "ed06" if released.

    The layout "ed06" leaves batch-norm biases of dead filters on, so its result cannot be shrunk.
    """

    patience: int = Field(default=ED06_WINDOW, ge=1)
    layout: Literal["ip", "ed06"] | None = None
