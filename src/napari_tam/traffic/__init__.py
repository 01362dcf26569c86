"""Who gives and who takes: exosomes between cell types, by distance, by place and by polarisation."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
