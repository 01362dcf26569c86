from .arrays import field_of_arrays
from .field import Field
from .images import read_fields
from .layout import Layout, read_layout
from .listing import list_images

__all__ = [
    "Field",
    "Layout",
    "field_of_arrays",
    "list_images",
    "read_fields",
    "read_layout",
]
