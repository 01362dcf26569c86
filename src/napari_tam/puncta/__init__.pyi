from .detect import Detector, LogDetector, NetworkDetector, measure_spots
from .selection import select

__all__ = [
    "Detector",
    "LogDetector",
    "NetworkDetector",
    "measure_spots",
    "select",
]
