"""Corrections before segmentation: flat field, channel shift, bleed-through, background."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
