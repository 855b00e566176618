"""Where a number is disputed: the repository's form, filled in as far as the page knows it."""

from __future__ import annotations

import os
import re
from urllib.parse import urlencode

from harness.reports.site.pages import EntryPage
from harness.system import provenance

FORM = "disputed-number.yml"  # in .github/ISSUE_TEMPLATE; its fields are the names below
_ADDRESS = re.compile(r"https://[\w.-]+/[\w.-]+/[\w.-]+?(\.git)?")


def known_repository() -> str | None:
    """Address of the repository's pages: of the build that runs, else of the clone's origin.

    None where neither is an https address.
    """
    server, name = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    found = f"{server}/{name}" if server and name else provenance.origin()
    return found.removesuffix(".git") if found and _ADDRESS.fullmatch(found) else None


def dispute_address(repository: str | None, page: EntryPage) -> str | None:
    """The address of the form with entry, result and what is claimed; None without a repository."""
    if repository is None:
        return None
    figures = [figure for one in page.measurements for figure in one.judged if figure.published]
    lines = [
        f"{figure.metric}: published {figure.published}, measured {figure.measured}, "
        f"verdict {figure.status}"
        for figure in figures
    ]
    fields = {
        "template": FORM,
        "title": f"Disputed: {page.id}",
        "entry": page.id,
        "result": page.measurements[0].result.result_id if page.measurements else "",
        "claim": "\n".join(lines),
    }
    return f"{repository.rstrip('/')}/issues/new?{urlencode(fields)}"
