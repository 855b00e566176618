"""Every error the harness raises on purpose.

BenchError
├── RegistryError            registry.yaml, ids, settings
├── CheckpointError
│   ├── CheckpointUnavailable    no source could deliver the file
│   ├── HashMismatch             the bytes are not the pinned ones
│   ├── NotACheckpoint           HTML page, LFS pointer, empty, truncated, foreign archive
│   ├── UnsafePickle             the file asks for code outside the allow-list
│   └── KeyMismatch              tensors and model do not fit
├── DataError                data set missing or damaged
├── ProtocolError            a training, pruning or evaluation request that makes no sense
│   ├── SettingsError            a recipe or method refuses the value of a setting
│   └── RunInUse                 another process is at work on the very same run
├── DamagedFile              a file that this program wrote is damaged or of another version
├── MetricError              a number cannot be computed or compared
└── Preempted                a signal stopped the run after saving; run the same command to go on

A message says what failed with the actual values, the likely cause, and what to type next.
"""


class BenchError(Exception):
    """Base of all errors raised on purpose; the message is meant for the user."""


class RegistryError(BenchError):
    """The registry, or a name looked up in it, is wrong."""


class CheckpointError(BenchError):
    """A checkpoint cannot be used."""


class CheckpointUnavailable(CheckpointError):
    """No source delivered the file; it may be obtained another way."""


class HashMismatch(CheckpointError):
    """The bytes differ from the pinned sha256."""


class NotACheckpoint(CheckpointError):
    """What arrived is not a checkpoint at all."""


class UnsafePickle(CheckpointError):
    """The pickle names a global outside the allow-list; nothing was executed."""


class KeyMismatch(CheckpointError):
    """State-dict keys or shapes do not fit the model."""


class DataError(BenchError):
    """A data set is missing, damaged or not what it claims to be."""


class ProtocolError(BenchError):
    """A training, pruning or evaluation request that cannot be carried out."""


class SettingsError(ProtocolError):
    """A setting is unknown, of the wrong type, or refused by the method for this network."""


class RunInUse(ProtocolError):
    """Another process is at work on the very same run; it is free again when that one ends."""


class DamagedFile(BenchError):
    """A file that this program wrote cannot be read: cut off, of another version, or nonsense."""


class MetricError(BenchError):
    """A metric cannot be computed, or two conventions cannot be compared."""


class StateWarning(UserWarning):
    """A file that this program wrote is damaged: it was left out or made anew, as the text says."""


class Preempted(BenchError):
    """A signal asked the program to stop; the state is saved, the same command continues."""
