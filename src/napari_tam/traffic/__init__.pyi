from .communicate import Communication, communicate
from .decay import Decay, fit_decay

__all__ = [
    "Communication",
    "Decay",
    "communicate",
    "fit_decay",
]
