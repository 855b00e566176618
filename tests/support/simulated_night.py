"""A night in which everything that can go wrong does, on a local server and an empty home.

Six entries with a checkpoint of their own each, measured once and so accepted; then the world is
changed behind their backs.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import torch

from harness.models import build
from harness.results.schema import Counts
from harness.results.store import load_all, save
from tests.support.results import made
from tests.support.server import Server, reply

PAGE = b"<!DOCTYPE html><html><head><title>Quota exceeded</title></head><body></body></html>"
IMAGES = 364  # of the digits' test split
DRIFT = 2  # images: 0.55 points
ENTRIES = ("fine", "replaced", "gone", "page", "drifted", "homeless")


def weights(seed: int, classes: int = 10, channels: int = 1) -> bytes:
    """A convnet_tiny as torch.save writes it."""
    torch.manual_seed(seed)
    buffer = io.BytesIO()
    torch.save(build("convnet_tiny", classes, channels).state_dict(), buffer)
    return buffer.getvalue()


def registry_file(folder: Path, server: Server) -> Path:
    """One entry per kind of bad luck; `homeless` is on ImageNet, which is not there."""
    rows = []
    for seed, name in enumerate(ENTRIES):
        body = weights(seed, 1000, 3) if name == "homeless" else weights(seed)
        url = server.url(f"/{name}.pt", reply(body))
        sha256 = hashlib.sha256(body).hexdigest()
        data = "imagenet, evaluation: imagenet-224" if name == "homeless" else "digits"
        evaluation = "" if name == "homeless" else ", evaluation: digits"
        rows.append(
            f"  - {{paper: night, method: dense, granularity: dense, model: convnet_tiny, "
            f"dataset: {data}{evaluation}, rows: [{{id: night-{name}, checkpoint: "
            f"{{sources: ['{url}'], format: plain, sha256: {sha256}, size_bytes: {len(body)}}}}}]}}"
        )
    file = folder / "night.yaml"
    file.write_text(
        "version: 1\npapers:\n  night: {title: A night, venue: here, url: 'https://a.example/', "
        "code: null, license: none stated, flops_convention: macs}\nfamilies:\n"
        + "\n".join(rows)
        + f"\nsuites:\n  simulated: [{', '.join(f'night-{name}' for name in ENTRIES)}]\n"
    )
    return file


def bad_luck(server: Server, home: Path, protocol_sha256: str) -> None:
    """Change the world after everything was measured and accepted.

    The store is emptied for two entries, so that their files have to be fetched again.
    """
    server.url("/replaced.pt", reply(weights(99)))
    server.url("/gone.pt", reply(b"", 404))
    server.url("/page.pt", reply(PAGE))
    for name in ("gone", "page"):
        shutil.rmtree(home / "checkpoints" / f"night-{name}")
    [before] = load_all(entry="night-drifted")
    [record] = (home / "reports" / "results" / "night-drifted").glob("*.json")
    record.unlink()
    counts = asdict(before.seen[1])
    counts["top1"] += DRIFT
    save(replace(before, counts=Counts(**counts)))
    save(accepted_on_imagenet(protocol_sha256))


def accepted_on_imagenet(protocol_sha256: str):  # type: ignore[no-untyped-def]
    """The record of a machine that had ImageNet."""
    result = made(entry="night-homeless", dataset="imagenet", model="convnet_tiny", method="dense")
    protocol = replace(result.protocol, sha256=protocol_sha256)
    return replace(result, protocol=protocol)


def plain(report: str) -> str:
    """A report without what differs from one night to the next: port, hashes, folders, seconds."""
    report = re.sub(r"/\S+/data\b", "DATA", report)
    report = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", report)
    report = re.sub(r"\b[0-9a-f]{64}\b", "<sha256>", report)
    report = re.sub(r"\b[0-9a-f]{16}\b", "<sha256 begins>", report)
    report = re.sub(r"\(\d+ s\)", "(N s)", report)
    return re.sub(r"\b\d{4}-\d\d-\d\d\b", "YYYY-MM-DD", report)
