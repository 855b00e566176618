"""Training by a recipe, from an entry to a result.

`story` is the order of events, `plan` what all seeds share, `seed` one of them; `data` and
`start_weights` are what goes in, `notes` what a result says of it.
"""

from harness.training.plan import Training
from harness.training.story import reproduce_by_training

__all__ = ["Training", "reproduce_by_training"]
