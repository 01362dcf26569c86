from .cards import ModelCard, bundled_cards
from .cpnet import CPNet
from .flownet import FlowNet, Predictor, choose_device

__all__ = [
    "CPNet",
    "FlowNet",
    "ModelCard",
    "Predictor",
    "bundled_cards",
    "choose_device",
]
