"""The network class, its fast inference, flows → labels, and the cards of the bundled networks."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
