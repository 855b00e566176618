"""Published checkpoints: bytes -> sniff -> sha256 -> safe load -> plain names -> strict load."""

from harness.checkpoints.fit import load_into
from harness.checkpoints.store import Obtained, Status, obtain, status

__all__ = ["Obtained", "Status", "load_into", "obtain", "status"]
