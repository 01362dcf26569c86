"""napari-tam: how much exosome each macrophage takes up.

Importing this package loads neither torch nor napari.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("napari-tam")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0.0.0"
