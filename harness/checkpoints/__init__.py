"""Bytes to a verified network: obtain, sniff, hash, read safely, convert, load strictly.

The names it exports stand in `__init__.pyi`; each is loaded when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
