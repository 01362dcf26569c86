"""A user's own networks: cell networks fine-tuned, phenotype models trained, judged and explained."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
