"""Published methods, one a file: each turns a float model into a compressed one."""

from netsuke.methods.binarize import METHODS, binarize
from netsuke.methods.method import Method
from netsuke.methods.quantize import quantize
from netsuke.methods.report import BinarizeReport

__all__ = ["METHODS", "BinarizeReport", "Method", "binarize", "quantize"]
