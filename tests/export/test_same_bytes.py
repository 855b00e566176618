"""The same content is the same file, whatever the safetensors library does with its metadata."""

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from harness.export.weights import save_tensors


def test_an_exported_file_has_the_same_bytes_every_time(tmp_path):
    tensors = {"b": torch.rand(3, 5), "a": torch.arange(7), "c": torch.rand(2, 2).half()}
    about = {f"k{number}": f"Zürich \n{number}" for number in range(12)}
    files = [tmp_path / f"{number}.safetensors" for number in range(5)]
    for file in files:
        save_tensors(tensors, file, about)
    assert len({file.read_bytes() for file in files}) == 1
    read = load_file(files[0])
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], value) for name, value in tensors.items())
    with safe_open(files[0], "pt") as opened:
        assert opened.metadata() == {"format": "pt", **about}
