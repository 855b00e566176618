"""What a maintainer runs: the nightly check, drift, links, pins, facts, new entries.

The names it exports stand in `__init__.pyi`; each is loaded when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
