from .decide import Decisions
from .replicates import replicate_table
from .stats import compare

__all__ = [
    "Decisions",
    "compare",
    "replicate_table",
]
