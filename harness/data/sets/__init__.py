"""One file per data set: its facts, official files, known copies and layout.

The file is named after the set, - as _; harness.registry finds it by that name. Facts are read
without NumPy or torch, so a layout is imported where it is made.
"""
