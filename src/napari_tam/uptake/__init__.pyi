from .comparisons import compare
from .decide import Decisions
from .replicates import replicate_table

__all__ = [
    "Decisions",
    "compare",
    "replicate_table",
]
