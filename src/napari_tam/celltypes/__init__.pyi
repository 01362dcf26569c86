from .gates import find_gates
from .marked import Marked, mark

__all__ = [
    "Marked",
    "find_gates",
    "mark",
]
