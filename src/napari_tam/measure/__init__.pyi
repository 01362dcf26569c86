from .cells import measure
from .colocalisation import colocalise
from .regions import Regions

__all__ = [
    "Regions",
    "colocalise",
    "measure",
]
