from .explain import Explanation, explain_cell
from .known_cells import read_labelled
from .training_set import TrainingField, read_training_fields, write_training_set

__all__ = [
    "Explanation",
    "TrainingField",
    "explain_cell",
    "read_labelled",
    "read_training_fields",
    "write_training_set",
]
