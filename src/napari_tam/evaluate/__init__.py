"""Results against ground truth: masks, puncta, and the puncta counts of cells."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
