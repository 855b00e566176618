"""Every campaign, in the order in which they are carried out."""

from __future__ import annotations

from tests.campaigns import (  # noqa: F401
    crafted_files,
    damaged_homes,
    fuzzed_checkpoints,
    fuzzed_commands,
    fuzzed_documents,
    hostile_servers,
    kills,
    mutation,
    one_home,
    small_disks,
    small_memories,
)
from tests.campaigns.campaign import CAMPAIGNS

NAMES = tuple(CAMPAIGNS)
