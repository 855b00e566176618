"""What one row of the registry is made of: frozen types that check their own values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from harness.registry.data_set_facts import data_set_names, is_data_set
from harness.registry.fields import Fault, later, nearest, sha256

METRICS = (
    "top1_pct",
    "top1_error_pct",
    "top3_pct",
    "top5_pct",
    "loss",
    "sparsity_pct",
    "params_millions",
    "params_removed_pct",
    "flops_millions",
    "flops_reduction_pct",
    "flops_remaining_pct",
    "kept_pct",
    "density_pct",
    "weights_thousands",
    "flops_thousands",
    "activations_pct",
    "gain_over_dense_pp",
    "early_gain_over_dense_pp",
    "compression_ratio",
    "size_kb",
    "weight_bits",
    "index_bits",
    "shared_pct",
    "huffman_weight_bits",
    "huffman_index_bits",
    "huffman_pct",
)
FLOPS_CONVENTIONS = (
    "macs",
    "2x-macs-bn-relu-pool",
    "rd-macs-ratio",
    "ftwt-reported",
    "ip-kept-ratio",
    "macs-times-activations",
)
FORMATS = (
    "plain",
    "safetensors",
    "acdc",
    "str",
    "ftwt",
    "rd",
    "cifar-resnet",
    "keras-npz",
    "keras-h5",
    "keras-h5-chain",
    "masked-mlp",
    "squeezenet-net",
    "efficientnet-lite0",
)
LAYER_METRICS = (
    "sparsity_pct",
    "density_pct",
    "weights_thousands",
    "flops_thousands",
    "activations_pct",
    "compression_ratio",
    "flops_remaining_pct",
    "weight_bits",
    "index_bits",
    "shared_pct",
    "huffman_weight_bits",
    "huffman_index_bits",
    "huffman_pct",
)
BOUNDS = ("at least", "at most", "cut off")
GRANULARITIES = ("unstructured", "structured", "dynamic", "dense")
INTERPOLATIONS = ("bilinear", "bicubic")
CHANNELS = ("rgb", "bgr", "gray")
SOURCE_FORMS = (
    "https://...",
    "http://...",
    "hf:ORG/NAME/FILE@REVISION",
    "doi:10.5281/zenodo.RECORD/FILE",
    "gdrive:ID",
    "data:PATH",
    "shipped:NAME",
)

ID = re.compile(r"[a-z0-9]+(?:[-.][a-z0-9]+)*\Z")
NUMBER = re.compile(  # as long as a double can tell apart
    r"-?[0-9]{1,15}(?:\.(?P<decimals>[0-9]{1,15}))?(?:e(?P<exponent>[0-9]{1,2}))?\Z"
)
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_SOURCE = re.compile(
    r"https?://[^\s/]+/\S+\Z|gdrive:[A-Za-z0-9_-]{20,}\Z|(?:data|shipped):(?!/)\S+\Z"
    r"|hf:[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*/[^\s/@][^\s@]*@[A-Za-z0-9][\w.-]*\Z"
    r"|doi:10\.5281/zenodo\.[0-9]{1,12}/[^\s/][^\s]*\Z",
    re.ASCII,
)


def is_metric(name: str) -> bool:
    """Whether `name` is a published metric: of the network, or "metric.layer" of one layer."""
    metric, dot, layer = name.partition(".")
    return (metric in LAYER_METRICS and layer != "") if dot else metric in METRICS


def require_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raises Fault at `name` unless `value` is known."""
    if value not in known:
        raise Fault((name,), f"unknown value {value!r}{nearest(value, known)}")


def is_id(text: object) -> bool:
    """Whether `text` can be an id: lower-case letters and digits, joined by single '-' or '.'."""
    return isinstance(text, str) and ID.match(text) is not None


def require_id(name: str, value: str) -> None:
    """Raises Fault at `name` unless `value` is a well-formed id."""
    if not is_id(value):
        msg = f"{value!r} is not an id: lower-case letters and digits, joined by single '-' or '.'"
        raise Fault((name,), msg)


@dataclass(frozen=True, slots=True)
class Paper:
    """Where numbers come from and how they were counted. A repository without a paper counts."""

    key: str
    title: str
    venue: str
    url: str  # paper page
    code: str | None  # repository
    license: str  # of the released code and checkpoints; "none stated" when there is none
    flops_convention: (
        str  # one of FLOPS_CONVENTIONS; what each counts: harness/profile/conventions.py
    )
    own: bool = False  # this project's own networks: no claim of others that could hold or fail

    def __post_init__(self) -> None:
        require_id("key", self.key)
        require_one_of("flops_convention", self.flops_convention, FLOPS_CONVENTIONS)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Versioned preprocessing + metric protocol.

    Pixels are scaled to [0, scale], then (x - mean) / std.
    """

    name: str
    version: int
    dataset: str
    split: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None  # short side, pixels; None = pictures already have their size
    crop: int | None = None
    interpolation: str = "bilinear"  # bilinear | bicubic
    channels: str = "rgb"  # rgb | bgr | gray
    scale: float = 1.0  # 1.0: pixels in [0, 1]; 255.0: pixels in [0, 255]
    squash: bool = False  # both sides become `resize`; the aspect ratio is not kept
    note: str = ""

    def __post_init__(self) -> None:
        require_id("name", self.name)
        if not is_data_set(self.dataset):
            near = nearest(self.dataset, data_set_names())
            raise Fault(("dataset",), f"unknown value {self.dataset!r}{near}")
        require_one_of("interpolation", self.interpolation, INTERPOLATIONS)
        require_one_of("channels", self.channels, CHANNELS)
        depth = 1 if self.channels == "gray" else 3
        for name in ("mean", "std"):
            found = len(getattr(self, name))
            if found != depth:
                msg = f"{self.channels} pictures need {depth} values, found {found}"
                raise Fault((name,), msg)
        if min(self.std) <= 0:
            raise Fault(("std",), f"{min(self.std)} divides the pixels; it must be above 0")
        if self.crop is not None and self.resize is not None and self.crop > self.resize:
            raise Fault(("crop",), f"{self.crop} is larger than resize {self.resize}")

    @property
    def preprocessing(self) -> tuple[object, ...]:
        """What happens to a picture, whatever data set it is from."""
        geometry = (self.resize, self.crop, self.interpolation, self.squash)
        return (*geometry, self.channels, self.scale, self.mean, self.std)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published file. Sources are tried in order.

    source forms: http(s)://..., hf:ORG/NAME/FILE@REVISION (Hugging Face hub; a commit, tag or
    branch), doi:10.5281/zenodo.RECORD/FILE (Zenodo), gdrive:ID, data:PATH (below the data root),
    shipped:NAME (comes with the code).
    """

    sources: tuple[str, ...]
    format: str  # id understood by harness.checkpoints.file_formats
    sha256: str | None = None  # None = never seen; pinned in registry.lock on first good download
    size_bytes: int | None = None
    license: str = "none stated"

    def __post_init__(self) -> None:
        if not self.sources:
            raise Fault(("sources",), "no source; give at least one or leave the checkpoint out")
        for i, source in enumerate(self.sources):
            plain = source.isprintable() and ".." not in source.split("/")
            if not _SOURCE.match(source) or not plain:
                msg = f"{source!r} is not a source; forms: {', '.join(SOURCE_FORMS)}"
                raise Fault(("sources", i), msg)
        require_one_of("format", self.format, FORMATS)
        if self.sha256 is not None and not _SHA256.match(self.sha256):
            msg = f"{self.sha256!r} is not a sha256: 64 digits of 0-9a-f, or null if never seen"
            raise Fault(("sha256",), msg)
        if self.size_bytes is not None and self.size_bytes <= 0:
            raise Fault(("size_bytes",), f"{self.size_bytes} bytes is no file size")


@dataclass(frozen=True, slots=True)
class Published:
    """One printed number: digits kept as text."""

    text: str  # exactly as printed, without unit: "76.00"; "4.09e3" where 4.09 thousand is printed
    source: str  # "README, global magnitude table"
    suspect: bool = False  # shown, never judged
    note: str = ""
    std: str | None = None
    n_runs: int | None = None
    assumed_std: str | None = later(None)  # where none is printed; the note says where it is from
    bound: str | None = later(None)  # one of BOUNDS: "more than", "up to", not rounded

    def __post_init__(self) -> None:
        if self.bound is not None:
            require_one_of("bound", self.bound, BOUNDS)
        for name in ("text", "std", "assumed_std"):
            number = getattr(self, name)
            if number is not None and not NUMBER.match(number):
                raise Fault((name,), f'{number!r} is not a printed number such as "75.03"')
        if self.suspect and not self.note:
            raise Fault(("suspect",), "a suspect number needs a note that says why")

    @property
    def value(self) -> float:
        return float(self.text)

    @property
    def half_unit(self) -> float:
        """Half a unit of the last printed digit: "75.03" -> 0.005, "4.09e3" -> 5."""
        printed = NUMBER.match(self.text)
        assert printed is not None
        exponent = int(printed["exponent"] or 0) - len(printed["decimals"] or "")
        return 0.5 * 10.0**exponent


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the registry: everything needed to reproduce and to dispute it."""

    id: str
    paper: str  # key into Registry.papers
    method: str  # name of a method in `methods`, or of an external one
    model: str  # name understood by harness.models.build
    dataset: str
    evaluation: str  # key into Registry.evaluations
    recipe: str | None = None  # key into Registry.recipes; None = no training protocol is known
    settings: Mapping[str, object] = field(default_factory=dict)  # of the method
    baseline: str | None = None  # id of the dense entry
    checkpoint: Checkpoint | None = None
    published: Mapping[str, Published] = field(default_factory=dict)  # metric name -> value
    prunable_exclude: tuple[str, ...] = ()  # layers outside the paper's sparsity denominator
    granularity: str = "unstructured"  # unstructured | structured | dynamic | dense
    suites: tuple[str, ...] = ()
    note: str = ""
    aliases: tuple[str, ...] = ()
    # Evaluations that are stated for the same file in other places: each one's number counts.
    also_stated: tuple[str, ...] = later(())

    def __post_init__(self) -> None:
        require_id("id", self.id)
        for i, name in enumerate(self.also_stated):
            if name in (self.evaluation, *self.also_stated[:i]):
                raise Fault(("also_stated", i), f"{name!r} is stated twice for {self.id!r}")
        for i, alias in enumerate(self.aliases):
            if not ID.match(alias) or alias == self.id:
                raise Fault(("aliases", i), f"{alias!r} cannot be an alias of {self.id!r}")
        require_one_of("granularity", self.granularity, GRANULARITIES)

    @property
    def top1(self) -> Published | None:
        """The printed top-1; where its error is printed instead, 100 minus that."""
        error = self.published.get("top1_error_pct")
        if "top1_pct" in self.published or error is None:
            return self.published.get("top1_pct")
        as_error = f"printed as an error of {error.text} %"
        note = f"{as_error}; {error.note}" if error.note else as_error
        return replace(error, text=str(100 - Decimal(error.text)), note=note)


def entry_sha256(entry: Entry) -> str:
    """Hash of what the entry claims; notes, suites and aliases may change without changing it."""
    return sha256(entry, without=("note", "suites", "aliases"))


def evaluation_sha256(evaluation: Evaluation) -> str:
    """Hash of the evaluation protocol without its note."""
    return sha256(evaluation, without=("note",))
