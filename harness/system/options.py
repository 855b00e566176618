"""What the caller may choose about a run; none of it moves the number of a full one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.system.progress import Progress, Silent

CachePolicy = Literal["build", "require", "read", "off"]  # of decoded pictures


@dataclass(frozen=True, slots=True)
class Reading:
    """How a user's file is read where its content does not decide."""

    weights_format: str | None = None  # id of a checkpoint format; None = told from the content
    weights_key: str | None = None  # which part of the file; None = the first that fits


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller may choose about a run; none of it moves the number of a full run."""

    device: str = "cpu"
    data_root: Path | None = None
    from_file: Path | None = None  # evaluate these bytes instead of the published link
    limit: int | None = None  # evaluate only that many images, evenly spread: a smoke run
    offline: bool = False
    dataset: str | None = None  # evaluate on a stand-in such as imagenet-sample: a smoke run
    cache: CachePolicy = "read"  # of decoded pictures
    fast: bool = False  # measure bfloat16, channels last, compiled too
    progress: Progress = field(default_factory=Silent)
    reading: Reading = Reading()  # of from_file
    store: str | None = None  # address where run folders are kept too, see SharedStore
