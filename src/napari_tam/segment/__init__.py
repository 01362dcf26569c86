"""Cell and nuclear stains → labels, by the bundled networks or Cellpose's own models."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
