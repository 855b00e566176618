"""Every campaign, in the order in which they are carried out."""

from __future__ import annotations

from tests.campaigns import crafted_files, hostile_servers, mutation  # noqa: F401
from tests.campaigns.campaign import CAMPAIGNS

NAMES = tuple(CAMPAIGNS)
