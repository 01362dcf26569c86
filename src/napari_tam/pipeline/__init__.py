"""One field → its analysis: the table of steps, what can be kept of an earlier analysis, the networks."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
