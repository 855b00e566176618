"""Files of model repositories on the Hugging Face hub, at a stated revision."""

from __future__ import annotations

import os
from urllib.parse import quote

from harness.checkpoints.sources.web import Web

HOST = "https://huggingface.co"  # or a mirror: $HF_ENDPOINT, as the hub's own client has it


class Hub(Web):
    """hf:ORG/NAME/FILE@REVISION; a commit, a tag or a branch, which may move: the hash is pinned"""

    prefixes = ("hf:",)

    @property
    def address(self) -> str:
        host = os.environ.get("HF_ENDPOINT") or HOST
        place, _, revision = self.rest.rpartition("@")
        owner, name, file = place.split("/", 2)
        return f"{host.rstrip('/')}/{owner}/{name}/resolve/{revision}/{quote(file)}"
