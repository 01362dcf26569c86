from .run import FORMATS, export

__all__ = [
    "FORMATS",
    "export",
]
