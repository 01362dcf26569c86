"""Which cells carry which markers, by gates from controls; cell types and phenotypes by rules of them."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
