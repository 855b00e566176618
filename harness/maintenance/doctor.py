"""What can go wrong on this machine, found before it costs an afternoon."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import paths
from harness.errors import RegistryError
from harness.registry import data_set_names
from harness.system import provenance

REQUIRED = ("torch", "torchvision", "timm", "fvcore", "mlflow", "pandas", "safetensors")
BROKEN = (ImportError, RuntimeError, AttributeError, OSError)  # what a broken package raises
MIN_FREE_GIB = 2  # room for a large checkpoint, its converted form and the results


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line of the report."""

    what: str
    ok: bool
    text: str
    required: bool = False  # a required finding that is not ok makes the command exit with 1


def examine_machine(data_root: Path | None = None) -> list[Diagnosis]:
    """Look at packages, device, disk, folders and data sets."""
    return [*_packages(), *_machine(), *_data(data_root)]


def _packages() -> Iterator[Diagnosis]:
    """A real import of each: metadata says yes even for a package that is broken."""
    found = provenance.versions()
    yield Diagnosis("python", True, found["python"])
    for name in REQUIRED:
        try:
            module = __import__(name)
        except BROKEN as error:
            yield Diagnosis(name, False, _broken(name, error), required=True)
        else:
            yield Diagnosis(
                name, True, str(getattr(module, "__version__", "present")), required=True
            )


def _broken(name: str, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        provenance.broken_pair(error)
        or f"cannot be imported: {reason}. Reinstall: pip install -U {name}"
    )


def _machine() -> Iterator[Diagnosis]:
    try:
        import torch
    except BROKEN:
        pass  # reported with the packages
    else:
        facts = provenance.hardware("cpu")
        text = f"{facts['cpu']}, {facts['cores']} cores, torch uses {facts['threads']}"
        yield Diagnosis("cpu", True, text)
        gpu = torch.cuda.is_available()
        text = torch.cuda.get_device_name() if gpu else "none: everything runs on the CPU"
        yield Diagnosis("accelerator", True, text)
    home = paths.home()
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free / 2**30
    yield Diagnosis("disk", free > MIN_FREE_GIB, f"{free:.0f} GiB free at the home folder")
    writable = there.is_dir() and os.access(there, os.W_OK)
    advice = "set BENCH_HOME to move it" if writable else "not writable: set BENCH_HOME elsewhere"
    yield Diagnosis("home", writable, f"{home} ({advice})")
    yield from _decoded_pictures()


def _decoded_pictures() -> Iterator[Diagnosis]:
    """How much room the cache of decoded pictures takes, and how to have it back."""
    from harness.data import cache_folder

    files = [file for file in cache_folder().glob("*/pixels.npy*") if file.is_file()]
    if files:
        taken = sum(512 * getattr(file.stat(), "st_blocks", 0) for file in files)
        text = (
            f"{len(files)} of pictures, {taken / 1e9:.1f} GB; to clear it, delete {cache_folder()}"
        )
        yield Diagnosis("cache", True, text)


def _data(data_root: Path | None) -> Iterator[Diagnosis]:
    try:
        from harness.data import describe
    except BROKEN:
        return  # without torch nothing can be read; its own finding says so
    root = paths.data_root(data_root)
    for name in data_set_names():
        try:
            place = describe(name, root)
        except RegistryError as error:  # of a package that is broken
            yield Diagnosis(name, False, str(error))
        else:
            yield Diagnosis(name, place.found, place.text)
