"""How every picture is begun and written: without a screen, and the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from harness.errors import ProtocolError
from harness.system import replace_file

# Dates and versions that would differ from run to run.
_UNNAMED: dict[str, dict[str, None]] = {
    "svg": {"Date": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
FORMATS = (".png", ".svg", ".pdf")


def require_picture_format(target: Path, formats: Sequence[str] = FORMATS) -> None:
    """Raises ProtocolError for another ending than `formats`."""
    if target.suffix.lower() not in formats:
        kinds = ", ".join(formats[:-1])
        raise ProtocolError(
            f"{target.name}: pictures are {kinds} or {formats[-1]}; name the file so"
        )


@contextmanager
def drawn_into(target: Path, dpi: int, font_size: float = 10) -> Iterator[Any]:
    """Matplotlib's pyplot; what is drawn with it is written into `target` at the end."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    # Text stays text in SVG and PDF, and its ids are no random numbers.
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "reprune",
        "pdf.fonttype": 42,
        "font.size": font_size,
    }
    with plt.rc_context(style):
        try:
            yield plt
            form = target.suffix.lower().removeprefix(".")
            picture = BytesIO()  # drawing takes long: nothing half-written lies there meanwhile
            plt.gcf().savefig(picture, format=form, dpi=dpi, metadata=_UNNAMED[form])
            replace_file(target, lambda file: file.write(picture.getbuffer()))
        finally:
            plt.close(plt.gcf())
