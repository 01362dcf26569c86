from .cards import ModelCard, bundled_cards
from .cpnet import CPNet
from .devices import choose_device
from .flownet import FlowNet
from .predictor import Predictor

__all__ = [
    "CPNet",
    "FlowNet",
    "ModelCard",
    "Predictor",
    "bundled_cards",
    "choose_device",
]
