"""A home with one of every file that commands leave, and every way in which one can be damaged."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save as safetensors_bytes

from cli import main
from harness.checkpoints import pins
from harness.maintenance import accepted
from harness.results import Link, save_links, save_timings
from harness.results import save as save_result
from tests.data.pictures import write_picture
from tests.results.test_timings import record
from tests.support.results import made, trained

COMMON = ["--model", "convnet_tiny", "--dataset", "digits", "--no-tracking", "--device", "cpu"]
TRAIN = ["train", "--method", "dense", *COMMON, "--set", "epochs=1", "--set", "train_images=64"]
PRUNE = ["prune", "--method", "rd", *COMMON, "--target", "0.5", "--rounds", "1"]
PRUNE += ["--finetune", "1ep", "--set", "train_images=64", "--set", "settings.calibration_size=8"]
SHIPPED = "dense-convnet-tiny-digits"
EVALUATE = ["reproduce", SHIPPED, "--no-tracking", "--device", "cpu"]
OWN = "local-dense-convnet-tiny-digits"
MISSING = "a"  # of no registry: results made by hand
QUICK: list[list[Any]] = [  # verbs that load no network
    ["list"],
    ["list", "--json"],
    ["table", "--json"],
    ["show", SHIPPED],
    ["show", "local-gmp"],
    ["claims", "--json"],
    ["compare", "a-1", "local-gmp"],
    ["registry", "lock"],
]


def bench(*arguments: str) -> Result:
    """`bench ARGUMENTS` in this process."""
    return CliRunner().invoke(main, [str(part) for part in arguments])


def fill(home: Path) -> None:
    """Run what leaves files in the home folder, which $BENCH_HOME names already."""
    report = ["report", "--out", home.parent / "site"]
    for arguments in (lambda: TRAIN, lambda: EVALUATE, lambda: _prune(home), lambda: report):
        done = bench(*arguments())
        assert done.exit_code == 0, done.output
    for day in (1, 2):
        save_result(made(entry="a", when=f"2026110{day}T120000Z-00000001"), np.zeros(10_000, int))
    _fill_beside_results()
    pictures = home.parent / "pictures"
    for split in ("train", "val"):
        for label in ("cats", "dogs"):
            for number in range(3):
                write_picture(pictures / split / label / f"{number}.png", 20 + number, 20)
    bench("table", "--dataset", f"folder:{pictures}")  # which has no result yet: nothing to show
    assert list(home.glob("datasets/*.json"))


def fill_by_hand(home: Path) -> None:
    """Write every file that verbs read which load no network."""
    for day, entry in enumerate((SHIPPED, "a-1", "a-1"), start=1):
        save_result(made(entry=entry, when=f"2026110{day}T120000Z-00000001"), np.zeros(10_000, int))
    save_result(trained(entry="local-gmp", when="20261104T120000Z-00000001"), np.zeros(10, int))
    _fill_beside_results()
    done = bench("table")
    assert done.exit_code == 0, done.output
    assert (home / "cache" / "rows.json").is_file()


def _fill_beside_results() -> None:
    save_timings(record(SHIPPED))
    save_links({"https://host.example/file": Link("2026-11-01T00:00:00Z", True, 200, "fine")})
    pins.pin(SHIPPED + "-2", "a" * 64, "https://host.example/file")
    accepted.append(accepted.Acceptance(SHIPPED, "x", "2026-11-01", "why"), accepted.file())


def _prune(home: Path) -> list[Any]:
    found = home.glob("runs/local-dense-*/*/weights.safetensors")
    weights = next(found, home / "weights.safetensors")
    return [*PRUNE, "--weights", weights]


def readers(home: Path, file: Path) -> list[list[Any]]:
    """The commands that read `file`, and a few that look at everything."""
    place = file.relative_to(home).parts
    every: list[list[Any]] = [["list"], ["table", "--json"]]
    match place[0]:
        case "runs":
            return [TRAIN, _prune(home), ["export", OWN, home / "x.safetensors"]]
        case "cache":
            return [
                ["table"],
                _prune(home),
                ["profile", SHIPPED],
                ["report", "--out", home.parent / "site"],
            ]
        case "checkpoints":
            return [*every, ["pull", SHIPPED], ["profile", SHIPPED], EVALUATE]
        case "datasets":
            return [*every, ["table", "--dataset", f"folder:{home.parent / 'pictures'}"]]
        case "registry.lock":
            return [*every, ["registry", "lock"], ["pull", SHIPPED]]
        case _:
            return [
                *every,
                ["show", SHIPPED],
                ["show", OWN],
                ["claims"],
                ["compare", MISSING, MISSING],
                ["allocation", SHIPPED, "--run", OWN],
                ["plot", "--dataset", "digits", "--out", home / "p.svg"],
                ["export", OWN, home / "x.safetensors"],
                ["report", "--out", home.parent / "site"],
            ]


WRONG: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 10**25, -0.0, 1e308),
    *("", "x\x1b[31m\n", "\ud800", "9" * 5000, [], {}, [[]], {"a": {}}),
)


def _nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = list(value.items()) if isinstance(value, dict) else []
    items += enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _nodes(inner, (*path, key))


def wrong_json(data: bytes, chance: random.Random) -> bytes:
    """The document with one value at any depth replaced, removed, or a key added."""
    document = json.loads(data)
    path = chance.choice(list(_nodes(document)))
    if not path:
        return json.dumps(chance.choice(WRONG)).encode()
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    kind = chance.random()
    if kind < 0.15 and isinstance(inner, dict):
        del inner[path[-1]]
    elif kind < 0.25 and isinstance(inner, dict):
        inner["of-tomorrow"] = chance.choice(WRONG)
    else:
        inner[path[-1]] = chance.choice(WRONG)
    text = json.dumps(document)
    if kind > 0.95:
        text = text.replace("1", "NaN", 1)
    return text.encode()


def wrong_bytes(data: bytes, chance: random.Random) -> bytes:
    """Cut off, emptied, overwritten here and there, or something else altogether."""
    match chance.randrange(7):
        case 0:
            return data[: chance.randrange(len(data) + 1)]
        case 1:
            return b""
        case 2:
            return chance.randbytes(chance.randrange(300))
        case 3:
            changed = bytearray(data)
            for _ in range(chance.randint(1, 8)):
                if changed:
                    changed[chance.randrange(len(changed))] = chance.randrange(256)
            return bytes(changed)
        case 4:
            at = chance.randrange(len(data) + 1)
            return data[:at] + b"\0" * 64 + data[at + 64 :]
        case 5:
            return data + chance.randbytes(20)
    return b"\xff\xfe" + "überall [nichts]".encode("utf-16-le")


def wrong_arrays(data: bytes, chance: random.Random) -> bytes:
    """A whole file of the same kind that holds other things."""
    out = io.BytesIO()
    if data[:2] == b"PK" and b"data.pkl" in data:
        state = chance.choice([{}, [], {"key": 1}, torch.zeros(3), "x", {"key": "0", "model": 5}])
        torch.save(state, out)
    elif data[:2] == b"PK":
        array: Any = chance.choice([np.zeros(3), np.array(["x"]), np.zeros((2, 2), int)])
        np.savez(out, **{chance.choice(["predictions", "other"]): array})
    else:
        out.write(safetensors_bytes({"conv1.weight": torch.zeros(chance.choice([1, 72]))}))
    return out.getvalue()


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bytes": wrong_bytes,
    "json": wrong_json,
    "arrays": wrong_arrays,
}


def kinds_of(file: Path) -> list[str]:
    kinds = ["bytes", "missing", "folder"]
    if file.suffix == ".json":
        kinds += ["json"] * 4
    if file.suffix in (".npz", ".pt", ".safetensors"):
        kinds += ["arrays"] * 2
    return kinds


def damage(file: Path, kind: str, chance: random.Random) -> None:
    """Damage `file` in place."""
    data = file.read_bytes()
    file.unlink()
    if kind == "missing":
        return
    if kind == "folder":
        file.mkdir()
        return
    try:
        file.write_bytes(DAMAGES[kind](data, chance))
    except ValueError:  # a file whose name says JSON and that is sealed, say
        file.write_bytes(wrong_bytes(data, chance))


def copy_of(home: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(home, place)
    return place
