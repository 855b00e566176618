"""How every picture is begun and written: without a screen, and the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import ProtocolError
from harness.system import replacing

FORMATS = (".png", ".svg")


def require_picture_format(target: Path) -> None:
    """Raises ProtocolError for another ending than FORMATS."""
    if target.suffix.lower() not in FORMATS:
        raise ProtocolError(f"{target.name}: pictures are .png or .svg; name the file so")


@contextmanager
def drawn_into(target: Path, dpi: int, font_size: float = 10) -> Iterator[Any]:
    """Matplotlib's pyplot; what is drawn with it is written into `target` at the end."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    # Text stays text in SVG, and its ids are no random numbers.
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "reprune",
        "font.size": font_size,
    }
    with plt.rc_context(style):
        try:
            yield plt
            # No date or version inside.
            form = target.suffix.lower().removeprefix(".")
            unnamed = {"Date": None} if form == "svg" else {"Software": None}
            with replacing(target) as part:
                plt.gcf().savefig(part, format=form, dpi=dpi, metadata=unnamed)
        finally:
            plt.close(plt.gcf())
