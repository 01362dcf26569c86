from .fit import UptakeFit, fit_uptake
from .results import follow_results, write_kinetics

__all__ = [
    "UptakeFit",
    "fit_uptake",
    "follow_results",
    "write_kinetics",
]
