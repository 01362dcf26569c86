from .edits import read_edits, save_edits
from .folder import Results, read_results
from .record import Record

__all__ = [
    "Record",
    "Results",
    "read_edits",
    "read_results",
    "save_edits",
]
