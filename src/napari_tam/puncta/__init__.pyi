from .detect import Detector, LogDetector, NetworkDetector, measure_spots, select

__all__ = [
    "Detector",
    "LogDetector",
    "NetworkDetector",
    "measure_spots",
    "select",
]
