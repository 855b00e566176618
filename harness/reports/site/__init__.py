"""A static site of everything measured: no server, no request that leaves the page.

words.py       titles, verdict badges, methods in a sentence
lines.py       leaderboard lines: measured rows, then published rows that nobody measured here
board_data.py  a board's rows as a data file, with their Pareto fronts
thumbnails.py  a small chart for a card
layer_bars.py  one bar per layer
commands.py    what to type to get a result again
pages.py       what each template is given
vega.py        the chart library, bundled once
publish.py     write beside, then swap
build.py       all pages
"""

from harness.reports.site.build import Built, build_site

__all__ = ["Built", "build_site"]
