"""An HDF5 model of Keras as arrays, read in a process of its own, within memory that is stated.

usage: python -m harness.checkpoints.h5_worker FILE LIMIT_BYTES

Standard output: an npz of "config" (JSON), "names" (JSON, [layer, weight] each) and the arrays by
number. Exit code 1 with the reason as the last line of standard error for a file that is refused.
"""

from __future__ import annotations

import io
import json
import resource
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from harness.checkpoints.archive import unpacked_limit
from harness.checkpoints.wording import damaged, shown

FILTERS = frozenset({2, 3})  # shuffle, fletcher32; what unpacks has no bound in HDF5
LIBRARIES_BYTES = 2**30  # beside the numbers, which are there twice when they are handed over


def main(path: Path, limit_bytes: int) -> None:
    """Write the file's arrays to standard output, or say in one line why not and exit with 1."""
    most = LIBRARIES_BYTES + 3 * limit_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        config, weights = contents(path, limit_bytes)
    except (
        *(KeyError, OSError, ValueError, RuntimeError, TypeError, AttributeError),
        MemoryError,
    ) as error:
        sys.exit(damaged(error))
    arrays: dict[str, Any] = {str(place): array for place, array in enumerate(weights.values())}
    arrays |= {"config": json.dumps(config), "names": json.dumps([*weights])}
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    sys.stdout.buffer.write(packed.getbuffer())


def contents(
    path: Path, limit_bytes: int
) -> tuple[Any, dict[tuple[str, str], np.ndarray[Any, Any]]]:
    """Keras' model_config, and (layer, weight name) -> array."""
    weights: dict[tuple[str, str], np.ndarray[Any, Any]] = {}
    left = min(limit_bytes, unpacked_limit(path.stat().st_size))

    def keep(name: str, node: Any) -> None:  # visititems follows no link that leaves the file
        nonlocal left
        if not isinstance(node, h5py.Dataset):
            return
        if node.external or node.is_virtual:
            raise ValueError(f"dataset {shown(name)} lies outside the file")
        left -= node.nbytes
        if left < 0:
            raise ValueError(f"dataset {shown(name)} claims more numbers than there may be")
        if node.dtype.kind != "f" or not _filters(node) <= FILTERS:
            msg = "is packed, or no plain array of floating point (h5repack -f NONE unpacks)"
            raise ValueError(f"dataset {shown(name)} {msg}")
        layer, _, rest = name.partition("/")
        weights[layer, rest.rpartition("/")[2].partition(":")[0]] = node[()]

    with h5py.File(path, "r") as file:
        config = json.loads(_text_of(file.attrs["model_config"]))
        file["model_weights"].visititems(keep)
    return config, weights


def _filters(dataset: Any) -> set[int]:
    """Ids of what a dataset is packed with; unknown ones would be looked for as plug-ins."""
    created = dataset.id.get_create_plist()
    return {created.get_filter(i)[0] for i in range(created.get_nfilters())}


def _text_of(attribute: Any) -> str:
    if isinstance(attribute, bytes):
        return attribute.decode()
    if not isinstance(attribute, str):
        raise ValueError("model_config is no text")
    return attribute


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
