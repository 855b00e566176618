"""One rule for compilers: torch's own."""

from __future__ import annotations

import pytest
import torch

from harness.profile.backends import missing_compiler

CPU = torch.device("cpu")


def test_the_compiler_is_the_one_that_torch_would_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")  # torch looks for no other then
    assert "no-such-compiler is not there" in missing_compiler(CPU)
    monkeypatch.setenv("CXX", "sh")  # any program that is there
    assert missing_compiler(CPU) == ""
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    assert "C++ compiler" in missing_compiler(CPU)


def test_devices_that_nothing_is_compiled_for_are_named() -> None:
    assert "not on meta" in missing_compiler(torch.device("meta"))
