"""The chart library as one script: Vega, Vega-Lite and Vega-Embed, bundled without a network."""

from __future__ import annotations

import os
from pathlib import Path

from harness import paths

HEADER = (
    "/* Vega, Vega-Lite and Vega-Embed, bundled by vl-convert {version}. Licences: "
    "vega-licences.txt, next to this file. */\n"
)


def bundle() -> str:
    """The script that defines `vegaEmbed`. Made once per version of the bundler, then kept."""
    from importlib.metadata import version as version_of

    version = version_of("vl-convert-python")
    kept = paths.cache_folder() / "site" / f"vega-{version}.js"
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    import vl_convert

    script = HEADER.format(version=version) + vl_convert.javascript_bundle(
        "window.vegaEmbed = vegaEmbed;"
    )
    _keep(kept, script)
    return script


def _keep(place: Path, script: str) -> None:
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    place.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(script, encoding="utf-8")
    part.replace(place)
