"""The nightly check: re-run, compare with what was accepted, look at the links, report."""
