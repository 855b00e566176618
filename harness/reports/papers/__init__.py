"""The papers' own tables, every printed figure with what became of it here.

published_figures.py  every figure of the registry and its status, from all that is stored
paper_tables.py       which figures stand in which table, in which row and column
paper_formats.py      the tables as markdown, LaTeX, csv, json, HTML
paper_terminal.py     the tables on a terminal
"""
