from .classify import Classifier, ModelClassifier, load_classifier
from .colours import phenotype_colours
from .model import PhenotypeModel, load_phenotype_model

__all__ = [
    "Classifier",
    "ModelClassifier",
    "PhenotypeModel",
    "load_classifier",
    "load_phenotype_model",
    "phenotype_colours",
]
