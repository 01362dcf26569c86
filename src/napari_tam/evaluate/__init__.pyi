from .matching import count_masks, match_cells, match_points
from .score import ImageScore, pool

__all__ = [
    "ImageScore",
    "count_masks",
    "match_cells",
    "match_points",
    "pool",
]
