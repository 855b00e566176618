"""The workflows, forms and citation file: valid by their schemas, safe, and their steps do run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))

# Not run here: installing, containers, and what takes minutes and is run by every check anyway.
NOT_RUN = {
    "Install",
    "Campaigns",
    "Types",
    "Quickstart from the wheel",
    "Build the container",
    "Quickstart in the container",
}
# One small file instead of all tests: this one is among them.
FEW_TESTS = "tests/registry/test_entries.py"


def schema_of(file: Path) -> str:
    if file.parent.name == "workflows":
        return "vendor.github-workflows"
    if file.name == "CITATION.cff":
        return "vendor.citation-file-format"
    return "vendor.github-issue-config" if file.stem == "config" else "vendor.github-issue-forms"


@pytest.mark.parametrize(
    "file", [*WORKFLOWS, *FORMS, ROOT / "CITATION.cff"], ids=lambda file: file.name
)
def test_file_fits_its_schema(file: Path) -> None:
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema_of(file)]
    done = subprocess.run([*checker, str(file)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def read(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    return document


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for file in WORKFLOWS:
        for name, job in read(file)["jobs"].items():
            yield file.stem, name, job


def steps(uses: bool) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(workflow, job, step) of every step that uses an action, or that runs a script."""
    key = "uses" if uses else "run"
    return [(w, job, step) for w, _, job in jobs() for step in job["steps"] if key in step]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_may_read_and_nothing_else(file: Path) -> None:
    document = read(file)
    assert document["permissions"] == {"contents": "read"}
    assert document["concurrency"]["group"]
    extra = {
        name: job["permissions"] for name, job in document["jobs"].items() if "permissions" in job
    }
    assert extra in ({}, {"pages": {"pages": "write", "id-token": "write"}})


def test_every_job_ends_by_itself() -> None:
    assert [name for _, name, job in jobs() if not 0 < job.get("timeout-minutes", 0) <= 180] == []


def test_every_action_is_pinned_to_a_major_version_of_its_publisher() -> None:
    used = {step["uses"] for _, _, step in steps(uses=True)}
    assert {action for action in used if not re.fullmatch(r"actions/[a-z-]+@v\d+", action)} == set()


def test_no_script_contains_an_expression() -> None:
    # What a title or a branch name puts into an expression would be run.
    assert [step["run"] for _, _, step in steps(uses=False) if "${{" in step["run"]] == []


@pytest.mark.parametrize(
    "script", [step["run"] for _, _, step in steps(uses=False)], ids=lambda text: text[:30]
)
def test_a_script_is_bash(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git tracks or would, as they are now."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: git knows which files belong to the project")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        cwd=ROOT,
        check=True,
    )
    folder = tmp_path_factory.mktemp("clone")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def surroundings(clone: Path) -> dict[str, str]:
    """A runner's environment, without a network and with a small suite."""
    runner = clone / ".runner"
    runner.mkdir(exist_ok=True)
    mine = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BENCH_", "GITHUB_", "PYTEST_", "MLFLOW_", "COLUMNS"))
    }
    nowhere = "http://127.0.0.1:9"  # the discard port: no address outside can be reached
    return mine | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(clone),
        "PYTEST_ADDOPTS": f"{FEW_TESTS} -p no:cacheprovider",
        "RUFF_NO_CACHE": "true",
        "SUITE": "quickstart",
        "CODE": "4",
        "GITHUB_OUTPUT": str(runner / "output"),
        "GITHUB_STEP_SUMMARY": str(runner / "summary.md"),
        **{name: nowhere for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")},
    }


@pytest.mark.slow
@pytest.mark.parametrize("workflow", [file.stem for file in WORKFLOWS])
def test_the_steps_of_a_workflow_run(clone: Path, workflow: str) -> None:
    environment = surroundings(clone)
    for name in ("output", "summary.md"):
        (clone / ".runner" / name).unlink(missing_ok=True)
    for of, _, step in steps(uses=False):
        if of != workflow or step["name"] in NOT_RUN:
            continue
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            capture_output=True,
            text=True,
            cwd=clone,
            env=environment,
        )
        assert done.returncode == 0, f"{step['name']}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    if workflow == "release":
        assert sorted(file.suffix for file in (clone / "dist").iterdir()) == [".gz", ".whl"]
        return
    summary = (clone / ".runner" / "summary.md").read_text()
    assert "### quickstart of " in summary and "12 as accepted, 0 drifted" in summary
    assert (clone / "site" / "index.html").stat().st_size > 0
    report = clone / ("out/nightly.xml" if workflow == "nightly" else "nightly.xml")
    assert len(list(ElementTree.parse(report).iter("testcase"))) == 12
    if workflow == "nightly":
        assert (clone / ".runner" / "output").read_text() == "code=0\n"


@pytest.mark.parametrize(("code", "fails"), [("0", 0), ("4", 0), ("3", 1), ("1", 1), ("", 1)])
def test_the_verdict_of_the_night_fails_on_drift_and_on_nothing_at_all(
    code: str, fails: int
) -> None:
    [script] = [step["run"] for _, _, step in steps(uses=False) if step["name"] == "Verdict"]
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", script], env={"CODE": code})
    assert done.returncode == fails


def test_the_citation_names_the_project_at_its_version() -> None:
    import tomllib

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert [list(author) for author in citation["authors"]] == [["name"]]
