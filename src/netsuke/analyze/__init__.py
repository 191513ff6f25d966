"""What can be told about networks without training them."""

from netsuke.analyze.cost import EDITIONS, Bits, Cost, LayerCost, cost
from netsuke.analyze.energy import Energy
from netsuke.analyze.knowledge_complexity import TeacherScore, knowledge_complexity

__all__ = [
    "EDITIONS",
    "Bits",
    "Cost",
    "Energy",
    "LayerCost",
    "TeacherScore",
    "cost",
    "knowledge_complexity",
]
