from .api import BatchResult, analyse, batch
from .errors import InputError
from .installation import __version__
from .pipeline.analysis import Analysis
from .results.folder import read_results
from .settings import Settings

__all__ = [
    "Analysis",
    "BatchResult",
    "InputError",
    "Settings",
    "__version__",
    "analyse",
    "batch",
    "read_results",
]
