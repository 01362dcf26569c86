from .cards import ModelCard, bundled_cards
from .flownet import FlowNet, Predictor, choose_device

__all__ = [
    "FlowNet",
    "ModelCard",
    "Predictor",
    "bundled_cards",
    "choose_device",
]
