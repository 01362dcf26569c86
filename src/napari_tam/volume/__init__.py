"""Segmenting, finding puncta and measuring in 3-D, and projections of stacks."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
