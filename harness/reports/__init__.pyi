from .claims import CONTRADICTED, DISPUTED, Claims, LinkCount, count_claims
from .errata import Erratum, by_section, errata_file, find_errata, write_errata
from .frames import frame
from .latency_table import (
    MEBIBYTE,
    known_to,
    machine_in_words,
    network_lines,
    timing_cells,
    timing_legend,
    timing_markdown,
    timing_rows,
    timing_sentences,
    timing_table,
)
from .mlflow import (
    default_tracking_uri,
    mirror,
    mlflow_problem,
    mlflow_run_table,
    sync_mlflow,
    without_password,
)
from .mlflow_server import serve_mlflow
from .papers.derived_figures import RELEASED_CODE, DerivedFigure, all_derived, save_derived
from .papers.paper_formats import render_paper
from .papers.paper_tables import (
    PaperTable,
    here_text,
    how_to_check,
    paper_tables,
    row_summary,
    summary_of,
)
from .papers.paper_terminal import paper_screen
from .papers.published_figures import published_figures
from .plots.axes import AXES, Axis
from .plots.layer_shares import allocation_plot
from .plots.points import plot_points
from .plots.printed_and_found import (
    PrintedAndFound,
    draw_printed_and_found,
    files_in_dispute,
)
from .plots.tradeoff import LABELS, Labels, Picture, draw_tradeoff
from .printed_verdicts import verdict_blocks, verdict_lines
from .publishing import publisher
from .readme import update_readme
from .site import build_site
from .site.dispute import known_repository
from .table.cells import MISSING, folded, status_style
from .table.columns import BY_KEY, PRESETS, Column, chosen_columns, shown_columns
from .table.formats import STYLES, render_leaderboard
from .table.leaderboard import FIGURES, SORTS, Wanted, leaderboard
from .table.published_rows import with_unmeasured
from .table.row_cache import stored_rows
from .table.rows import Row, row
from .table.terminal import leaderboard_screen

__all__ = [
    "frame",
    "AXES",
    "Axis",
    "BY_KEY",
    "CONTRADICTED",
    "DISPUTED",
    "Claims",
    "Column",
    "LinkCount",
    "MEBIBYTE",
    "MISSING",
    "DerivedFigure",
    "Erratum",
    "FIGURES",
    "LABELS",
    "Labels",
    "PRESETS",
    "Picture",
    "by_section",
    "errata_file",
    "find_errata",
    "write_errata",
    "PaperTable",
    "RELEASED_CODE",
    "Row",
    "all_derived",
    "here_text",
    "how_to_check",
    "paper_screen",
    "paper_tables",
    "published_figures",
    "render_paper",
    "row",
    "row_summary",
    "save_derived",
    "summary_of",
    "SORTS",
    "STYLES",
    "Wanted",
    "allocation_plot",
    "build_site",
    "timing_cells",
    "chosen_columns",
    "count_claims",
    "default_tracking_uri",
    "PrintedAndFound",
    "draw_printed_and_found",
    "draw_tradeoff",
    "files_in_dispute",
    "folded",
    "known_repository",
    "leaderboard",
    "known_to",
    "timing_legend",
    "timing_markdown",
    "mirror",
    "network_lines",
    "plot_points",
    "publisher",
    "render_leaderboard",
    "timing_table",
    "timing_rows",
    "mlflow_run_table",
    "leaderboard_screen",
    "with_unmeasured",
    "without_password",
    "shown_columns",
    "status_style",
    "stored_rows",
    "serve_mlflow",
    "sync_mlflow",
    "timing_sentences",
    "update_readme",
    "verdict_blocks",
    "verdict_lines",
    "machine_in_words",
    "mlflow_problem",
]
