"""The exosome channel → puncta: candidates, thresholds, their brightness and width."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
