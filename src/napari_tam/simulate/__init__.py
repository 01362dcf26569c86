"""Simulated fields, z-stacks, movies and plates with known ground truth."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
