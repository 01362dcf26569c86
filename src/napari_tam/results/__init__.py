"""The results folder: tables, masks, overlays, corrections by hand, and the record of the run."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
