"""Measured speed: which networks are timed, how a measurement runs, and its append-only record."""
