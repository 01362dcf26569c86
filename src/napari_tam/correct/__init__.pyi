from .apply import Corrected, correct
from .calibrate import bleed_through_of, channel_shifts, mean_bleed_through
from .flat_field import estimate_flat_field, reference_flat_field
from .folder import Corrections, read_corrections, write_corrections

__all__ = [
    "Corrected",
    "Corrections",
    "bleed_through_of",
    "channel_shifts",
    "correct",
    "estimate_flat_field",
    "mean_bleed_through",
    "read_corrections",
    "reference_flat_field",
    "write_corrections",
]
