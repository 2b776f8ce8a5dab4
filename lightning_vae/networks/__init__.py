"""Encoders and decoders: modules that return a distribution."""

from lightning_vae.networks.convolutional import ConvDecoder, ConvEncoder
from lightning_vae.networks.mlp import MLPDecoder, MLPEncoder
from lightning_vae.networks.text import LSTMDecoder, LSTMEncoder, TransformerDecoder

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "LSTMDecoder",
    "LSTMEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "TransformerDecoder",
]
