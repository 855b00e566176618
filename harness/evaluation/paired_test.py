"""Two results image by image: where they agree, which answers flip, and whether that is chance.

Both must have seen the same images, prepared in the same way. Labels come from the data set itself,
and must give back the counts that both results have on record.
"""

from __future__ import annotations

import glob
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import paths
from harness.errors import DamagedFile, DataError, ProtocolError
from harness.results import Result, current, file_of, load, load_entry, predictions_sha256

if TYPE_CHECKING:
    import numpy as np

    from harness.data import ImageIdentity

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two results."""

    entry: str
    result_id: str
    mode: str
    top1: int  # images it gets right
    top1_pct: float
    seed: int | None  # of the network whose answers these are; None = not trained here


@dataclass(frozen=True, slots=True)
class Paired:
    """What two lists of answers to the same n images have in common."""

    a: Side
    b: Side
    n: int
    same_answer: int  # images both put into the same class, right or wrong
    agreement_pct: float  # 100 * same_answer / n
    both_right: int
    only_a_right: int
    only_b_right: int
    both_wrong: int
    difference_pp: float  # top-1 of B minus that of A
    interval_pp: tuple[float, float]
    interval_method: str
    p_value: float
    test: str


def compare(
    a: str,
    b: str,
    data_root: Path | None = None,
    *,
    across_evaluations: bool = False,
    aliases: Mapping[str, str] = current.NO_ALIASES,
) -> tuple[Paired, ImageIdentity]:
    """Two stored results compared image by image, and the images that were used.

    a, b: an entry's id (its newest full result counts), a result's id, or a path to its JSON file.
    across_evaluations: allow two ways of preparing the same images.
    aliases: former id -> today's, see `Registry.aliases`.
    Raises DataError if a result, its answers or the labels are missing, ProtocolError if the two
    are not comparable.
    """
    files = result_file_of(a, aliases), result_file_of(b, aliases)
    first, second = (load(file) for file in files)
    _require_comparable(first, second, across_evaluations)
    predictions = _predictions(files[0], first), _predictions(files[1], second)
    labels = _labels(first, data_root)
    for result, given in zip((first, second), predictions, strict=True):
        right, on_record = int((given == labels).sum()), result.seen[1].top1
        if right != on_record:
            msg = f"{result.entry}: {right} answers are right, its record says {on_record}"
            raise DataError(f"{msg}. The data set found here is not the one it was measured on")
    return paired(_side(first), predictions[0], _side(second), predictions[1], labels), first.seen[
        0
    ]


def result_file_of(word: str, aliases: Mapping[str, str] = current.NO_ALIASES) -> Path:
    """The JSON file that `word` means. Raises DataError saying what to do when there is none."""
    given = Path(word)
    if given.suffix == ".json" and given.is_file():
        return given
    for base in paths.layers("results"):
        for by_id in base.glob(f"*/{glob.escape(word)}.json"):
            return by_id
    stored = load_entry(word, aliases, layers=False)
    with_predictions = [
        r for r in stored if file_of(r.entry, r.result_id).with_suffix(".npz").is_file()
    ]
    if not with_predictions:
        problem = "none of its results holds answers per image" if stored else "no result is stored"
        msg = f"{word}: {problem}. Measure it: bench reproduce {word}; what there is: bench table"
        raise DataError(msg)
    (chosen,) = current.per_entry(with_predictions, aliases).values()
    return file_of(chosen.entry, chosen.result_id)


def _require_comparable(a: Result, b: Result, across_evaluations: bool) -> None:
    """Raises ProtocolError naming the first thing in which the two differ."""
    one, other = a.seen[0], b.seen[0]
    facts: tuple[tuple[str, Any, Any], ...] = (
        ("data sets", f"{one.dataset} {one.split}", f"{other.dataset} {other.split}"),
        ("images (fingerprint)", one.fingerprint[:12], other.fingerprint[:12]),
        ("numbers of images", a.n_images, b.n_images),
    )
    if not across_evaluations:
        first, second = (f"{r.protocol.name} v{r.protocol.version}" for r in (a, b))
        hashes = a.protocol.sha256[:12], b.protocol.sha256[:12]
        facts += (("evaluations", first, second), ("evaluation hashes", *hashes))
    for what, left, right in facts:
        if left != right:
            hint = ""
            if what.startswith("evaluation"):
                hint = " To compare all the same, on the same images: --across-evaluations"
            msg = f"{a.entry} and {b.entry} are not comparable: {what} {left} and {right}.{hint}"
            raise ProtocolError(msg)


def _predictions(file: Path, result: Result) -> np.ndarray:
    """Class index per image, int64 (n,). Raises DataError if missing or not those on record."""
    import numpy as np

    place = file.with_suffix(".npz")
    if not place.is_file():
        msg = f"{result.entry}: {place.name} is missing, so its answers per image are unknown"
        raise DataError(f"{msg}. Restore it, or measure again: bench reproduce {result.entry}")
    try:
        with np.load(place, allow_pickle=False) as stored:
            given = stored["predictions"].astype(np.uint16, casting="safe")
    except Exception as error:  # whatever zipfile and numpy raise
        msg = f"{result.entry}: {place.name} cannot be read ({type(error).__name__})"
        raise DamagedFile(f"{msg}. Restore it, or measure again") from error
    if result.predictions_sha256 not in (None, predictions_sha256(given)):
        msg = f"{result.entry}: {place.name} is not the file its record names"
        raise DamagedFile(f"{msg} (other sha256). Restore it, or measure again")
    return given.astype(np.int64)


def _labels(result: Result, data_root: Path | None) -> np.ndarray:
    """Label per image, int64 (n,). Raises DataError if the images are others or are not here."""
    import numpy as np

    from harness.data import find_pictures, load
    from harness.registry import data_set

    data, counts = result.seen
    if data_set(data.dataset).streamed:
        pictures = find_pictures(data.dataset, data.split, data_root).pictures
        labels, found = np.asarray(pictures.labels), pictures.fingerprint
    else:
        images = load(data.dataset, data.split, data_root)
        labels, found = images.labels.numpy(), images.identity.fingerprint
    if found != data.fingerprint:
        msg = f"{data.dataset} {data.split}: the copy here has fingerprint {found[:12]}"
        raise DataError(f"{msg}, the results were measured on {data.fingerprint[:12]}")
    if counts.n < len(labels):  # a smoke run takes rows evenly spread over the split
        labels = labels[np.arange(counts.n) * len(labels) // counts.n]
    return labels.astype(np.int64)


def _side(result: Result) -> Side:
    seed = result.runs[0].seed if result.runs else None
    _, counts = result.seen
    return Side(result.entry, result.result_id, result.mode, counts.top1, counts.top1_pct, seed)


def paired(
    a: Side, predictions_a: np.ndarray, b: Side, predictions_b: np.ndarray, labels: np.ndarray
) -> Paired:
    """Counts, the exact McNemar test and an interval from class indices (n,) and labels (n,)."""
    right_a, right_b = predictions_a == labels, predictions_b == labels
    n = len(labels)
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    same = int((predictions_a == predictions_b).sum())
    return Paired(
        a=a,
        b=b,
        n=n,
        same_answer=same,
        agreement_pct=100.0 * same / n,
        both_right=int((right_a & right_b).sum()),
        only_a_right=only_a,
        only_b_right=only_b,
        both_wrong=int((~right_a & ~right_b).sum()),
        difference_pp=100.0 * (only_b - only_a) / n,
        interval_pp=interval_pp(only_a, only_b, n),
        interval_method=f"{CONFIDENCE:.0%} adjusted Wald interval for paired proportions",
        p_value=mcnemar_p(only_a, only_b),
        test="exact McNemar test (binomial, two-sided)",
    )


def mcnemar_p(only_a: int, only_b: int) -> float:
    """P(flips at least this lopsided | both directions equally likely); 1.0 without any flip.

    Exact for every count: the binomial is cheap enough that no approximation is needed.
    """
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    flips = only_a + only_b
    return 1.0 if flips == 0 else float(binomtest(only_a, flips, 0.5).pvalue)


def interval_pp(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    """Confidence interval, in points, of the top-1 of B minus that of A on the same n images.

    Wald's interval with half an image added to each cell of the 2x2 table (Agresti and Min 2005),
    which keeps its coverage where flips are few or all in one direction.
    """
    from scipy.stats import norm

    b, c, total = only_a + 0.5, only_b + 0.5, n + 2
    mean = (c - b) / total
    error = math.sqrt((b + c) / total - mean**2) / math.sqrt(total)
    reach = float(norm.ppf(0.5 + CONFIDENCE / 2)) * error
    return 100.0 * max(-1.0, mean - reach), 100.0 * min(1.0, mean + reach)
