"""Many images: resumable runs on one machine or many, watched folders, and what follows from them."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
