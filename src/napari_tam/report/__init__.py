"""The report in one HTML file, its figures, and a methods paragraph."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
