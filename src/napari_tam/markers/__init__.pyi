from .names import marker_of, marker_role

__all__ = [
    "marker_of",
    "marker_role",
]
