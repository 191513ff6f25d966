"""Published methods, one a file: each turns a float model into a compressed one."""

from netsuke.methods.binarize import METHODS, binarize
from netsuke.methods.method import Method
from netsuke.methods.prune import prune
from netsuke.methods.prune_blocks import drop_blocks, prune_blocks
from netsuke.methods.prune_channels import prune_channels, shrink
from netsuke.methods.quantize import quantize
from netsuke.methods.rate_aware import rate_aware
from netsuke.methods.report import BinarizeReport, ChannelsReport
from netsuke.methods.share import share
from netsuke.methods.ternarize import ternarize

__all__ = [
    "METHODS",
    "BinarizeReport",
    "ChannelsReport",
    "Method",
    "binarize",
    "drop_blocks",
    "prune",
    "prune_blocks",
    "prune_channels",
    "quantize",
    "rate_aware",
    "share",
    "shrink",
    "ternarize",
]
