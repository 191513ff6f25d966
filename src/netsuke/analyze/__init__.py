"""What can be told about networks without training them."""

from netsuke.analyze.cost import EDITIONS, Bits, Cost, LayerCost, cost
from netsuke.analyze.energy import Energy
from netsuke.analyze.feature_maps import feature_maps
from netsuke.analyze.knowledge_complexity import TeacherScore, knowledge_complexity
from netsuke.analyze.landscape import Landscape, Smoothness, loss_landscape, smoothness
from netsuke.analyze.published_coding import LayerCoding, PublishedCoding, published_coding
from netsuke.analyze.saliency import saliency, second_derivatives
from netsuke.analyze.sensitivity import Sensitivity, sensitivity

__all__ = [
    "LayerCoding",
    "PublishedCoding",
    "published_coding",
    "Sensitivity",
    "saliency",
    "second_derivatives",
    "sensitivity",
    "EDITIONS",
    "Bits",
    "Cost",
    "Energy",
    "Landscape",
    "LayerCost",
    "Smoothness",
    "TeacherScore",
    "cost",
    "feature_maps",
    "knowledge_complexity",
    "loss_landscape",
    "smoothness",
]
