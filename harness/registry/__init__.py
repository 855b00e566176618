"""The registry: what was published, by whom, and how it is measured. Imports nothing heavy.

`reading` turns the file into entries; `entries` and `recipes` say what they are made of,
`families` how rows share what they have in common, `fields` and `plain_yaml` how a mistake is found
and named with its line and column.
"""

from harness.registry.entries import (
    Checkpoint,
    Entry,
    Evaluation,
    Paper,
    Published,
    entry_sha256,
    evaluation_sha256,
)
from harness.registry.reading import LOCAL, Registry, get, load
from harness.registry.recipes import Recipe, recipe_sha256

__all__ = [
    "LOCAL",
    "Checkpoint",
    "Entry",
    "Evaluation",
    "Paper",
    "Published",
    "Recipe",
    "Registry",
    "entry_sha256",
    "evaluation_sha256",
    "get",
    "load",
    "recipe_sha256",
]
