"""Files and arrays → fields with a channel for every role; the plate layout."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
