"""The chart library as one script: Vega, Vega-Lite and Vega-Embed, bundled without a network."""

from __future__ import annotations

from harness import paths
from harness.system import read_sealed, write_sealed

HEADER = (
    "/* Vega, Vega-Lite and Vega-Embed, bundled by vl-convert {version}. Licences: "
    "vega-licences.txt, next to this file. */\n"
)


def bundle() -> str:
    """The script that defines `vegaEmbed`. Made once per version of the bundler, then kept."""
    from importlib.metadata import version as version_of

    version = version_of("vl-convert-python")
    kept = paths.cache_folder() / "site" / f"vega-{version}.js"
    try:
        return read_sealed(kept).decode()
    except (OSError, ValueError):
        pass  # bundled for the first time, or anew
    import vl_convert

    script = HEADER.format(version=version) + vl_convert.javascript_bundle(
        "window.vegaEmbed = vegaEmbed;"
    )
    write_sealed(kept, script.encode())
    return script
