from .coculture import Coculture, write_coculture
from .movie import Movie, write_movies
from .parameters import (
    ExosomeLabel,
    MarkerStain,
    MovieParameters,
    SceneParameters,
    VolumeParameters,
    random_parameters,
)
from .plate import Plate, write_plate
from .scene import Scene, write_fields
from .scene3d import Scene3D, write_volumes

__all__ = [
    "Coculture",
    "ExosomeLabel",
    "MarkerStain",
    "Movie",
    "MovieParameters",
    "Plate",
    "Scene",
    "Scene3D",
    "SceneParameters",
    "VolumeParameters",
    "random_parameters",
    "write_coculture",
    "write_fields",
    "write_movies",
    "write_plate",
    "write_volumes",
]
