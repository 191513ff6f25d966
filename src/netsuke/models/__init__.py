"""Architectures, one paper a file, and their registry."""

from netsuke.models.dlrm import DLRM, dlrm
from netsuke.models.registry import ModelEntry, create_model, get_model, list_models
from netsuke.models.weights import load_weights, published_weights

__all__ = [
    "DLRM",
    "ModelEntry",
    "create_model",
    "dlrm",
    "get_model",
    "list_models",
    "load_weights",
    "published_weights",
]
