"""napari-tam: how much exosome each macrophage takes up.

`analyse` takes one image, `batch` many; `Settings` holds every parameter. Importing this package loads
neither torch nor napari: what needs them is imported when it is used.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
