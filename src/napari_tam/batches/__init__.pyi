from .cluster import analyse_on
from .outcome import BatchProgress, Outcome
from .run import analyse_files
from .watch import Watcher

__all__ = [
    "BatchProgress",
    "Outcome",
    "Watcher",
    "analyse_files",
    "analyse_on",
]
