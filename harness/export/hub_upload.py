"""A folder sent to a Hugging Face repository, by the hub's own client and the user's own token."""

from __future__ import annotations

import re

from harness.errors import CheckpointUnavailable, ProtocolError
from harness.export.hub_folder import UNSTATED, HubFolder

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def require_repository(name: str) -> None:
    """Raises ProtocolError unless `name` is ORG/NAME."""
    if not _NAME.fullmatch(name):
        raise ProtocolError(f"{name!r} is not ORG/NAME of a repository: --to my-lab/my-network")


def upload(written: HubFolder, repository: str, *, private: bool = False) -> str:
    """Send the folder to `repository`, made if it is not there; its address.

    Raises ProtocolError without the hub's client, without a token, and for weights of others that
    come without a licence; CheckpointUnavailable in the hub's own words.
    """
    kept = f"The folder is written: {written.folder}"
    if written.license == UNSTATED:
        raise ProtocolError(f"weights without a licence are not handed on. {kept}")
    try:
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        msg = "huggingface_hub is not installed. Install the extra: pip install 'reprune[hub]'"
        raise ProtocolError(f"{msg}. {kept}") from error
    if not get_token():
        raise ProtocolError(f"there is no token of the hub. Log in: hf auth login. {kept}")
    hub = HfApi()
    try:
        address = hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=repository,
            folder_path=written.folder,
            commit_message=f"{written.folder.name}, by reprune",
        )
    except (HfHubHTTPError, OSError) as error:
        words = " ".join(str(error).split())
        raise CheckpointUnavailable(f"{repository}: the hub refused: {words}. {kept}") from error
    return str(address)
