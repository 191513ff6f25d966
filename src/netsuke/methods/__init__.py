"""Published methods, one a file: each turns a float model into a compressed one."""

from netsuke.methods.binarize import METHODS, binarize
from netsuke.methods.factors import factorize
from netsuke.methods.low_rank import RECONSTRUCTIONS, low_rank
from netsuke.methods.method import Method
from netsuke.methods.prune import prune
from netsuke.methods.prune_blocks import drop_blocks, prune_blocks
from netsuke.methods.prune_channels import prune_channels, shrink
from netsuke.methods.quantize import quantize
from netsuke.methods.rate_aware import rate_aware
from netsuke.methods.report import BinarizeReport, ChannelsReport, LowRankReport
from netsuke.methods.share import share
from netsuke.methods.ternarize import ternarize

__all__ = [
    "METHODS",
    "RECONSTRUCTIONS",
    "BinarizeReport",
    "ChannelsReport",
    "LowRankReport",
    "Method",
    "binarize",
    "drop_blocks",
    "factorize",
    "low_rank",
    "prune",
    "prune_blocks",
    "prune_channels",
    "quantize",
    "rate_aware",
    "share",
    "shrink",
    "ternarize",
]
