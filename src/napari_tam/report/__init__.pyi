from .build import write_report
from .data import ReportData
from .methods import methods_text
from .reading import read_data

__all__ = [
    "ReportData",
    "methods_text",
    "read_data",
    "write_report",
]
