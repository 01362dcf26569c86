"""What the microscope did to an image, measured and taken out, before anything is found."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
