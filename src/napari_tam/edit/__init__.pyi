from .masks import add, add_outlined, delete, grow, keep_inside, merge, shrink
from .patch import Patch
from .review import Review
from .split import split_by_line, split_by_nuclei

__all__ = [
    "Patch",
    "Review",
    "add",
    "add_outlined",
    "delete",
    "grow",
    "keep_inside",
    "merge",
    "shrink",
    "split_by_line",
    "split_by_nuclei",
]
