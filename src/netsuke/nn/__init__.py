"""Compressed layers while they still train: ordinary `torch.nn.Module`s for any training loop."""

from netsuke.nn.adabin import AdaBinActivation, AdaBinWeight
from netsuke.nn.binarizer import ActivationBinarizer, ActivationSet, WeightBinarizer, WeightSet
from netsuke.nn.bireal_weight import BiRealWeight
from netsuke.nn.detector import Detector
from netsuke.nn.dprelu import DPReLU
from netsuke.nn.embedding import BinaryEmbeddingBag
from netsuke.nn.fuse import fuse
from netsuke.nn.l2_norm import L2Norm
from netsuke.nn.layers import BinaryConv2d, BinaryLinear
from netsuke.nn.logic import ChannelOrder, MultiSliceSign, Or, Xnor
from netsuke.nn.maxout import Maxout
from netsuke.nn.progressive import progressive
from netsuke.nn.quantized import ActivationQuantizer, QuantizedConv2d, QuantizedLinear
from netsuke.nn.recoupling import ChannelGate, InfoRecoupling
from netsuke.nn.rprelu import RPReLU
from netsuke.nn.rsign import ApproxRSign, ApproxSign, RSign, Sign
from netsuke.nn.sign_weight import SignWeight, XnorWeight
from netsuke.nn.ste import sign_clipped, sign_ede, sign_piecewise_quadratic
from netsuke.nn.temperature import ScaledTemperatureWeight, TemperatureWeight
from netsuke.nn.ternary import Ternary, ternarized
from netsuke.nn.two_step import FloatWeight, binarize_weights, keep_weights_float
from netsuke.nn.weights import Levels, Masked, Shared, bake, count_levels, rate

__all__ = [
    "rate",
    "count_levels",
    "bake",
    "Shared",
    "Masked",
    "Levels",
    "ActivationBinarizer",
    "ActivationQuantizer",
    "ActivationSet",
    "AdaBinActivation",
    "AdaBinWeight",
    "ApproxRSign",
    "ApproxSign",
    "BiRealWeight",
    "BinaryConv2d",
    "BinaryEmbeddingBag",
    "BinaryLinear",
    "ChannelGate",
    "ChannelOrder",
    "DPReLU",
    "Detector",
    "FloatWeight",
    "InfoRecoupling",
    "L2Norm",
    "Maxout",
    "MultiSliceSign",
    "Or",
    "QuantizedConv2d",
    "QuantizedLinear",
    "RPReLU",
    "RSign",
    "Sign",
    "ScaledTemperatureWeight",
    "SignWeight",
    "TemperatureWeight",
    "Ternary",
    "WeightBinarizer",
    "WeightSet",
    "Xnor",
    "XnorWeight",
    "binarize_weights",
    "fuse",
    "keep_weights_float",
    "progressive",
    "sign_clipped",
    "sign_ede",
    "sign_piecewise_quadratic",
    "ternarized",
]
