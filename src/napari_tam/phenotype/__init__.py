"""Every cell → its probabilities of being M1- or M2-like, by its shape and stain."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
