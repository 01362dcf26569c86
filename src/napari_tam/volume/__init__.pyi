from .detect import StackDetector
from .measure import measure_volume
from .projection import project_field, project_labels
from .segment import StackSegmenter

__all__ = [
    "StackDetector",
    "StackSegmenter",
    "measure_volume",
    "project_field",
    "project_labels",
]
