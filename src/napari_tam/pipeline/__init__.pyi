from .analysis import Analysis, Segmented
from .edits import Edits
from .models import Models, available_models, load_models
from .runner import run, run_steps

__all__ = [
    "Analysis",
    "Edits",
    "Models",
    "Segmented",
    "available_models",
    "load_models",
    "run",
    "run_steps",
]
