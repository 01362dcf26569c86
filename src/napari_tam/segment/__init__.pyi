from .cellpose_models import CellposeSegmenter
from .segmenter import FlowNetSegmenter, Segmentation, Segmenter

__all__ = [
    "CellposeSegmenter",
    "FlowNetSegmenter",
    "Segmentation",
    "Segmenter",
]
