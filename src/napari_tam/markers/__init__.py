"""What marker channels are called, and rules about them (CD11b+ EpCAM-)."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
