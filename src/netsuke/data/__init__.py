"""Readers of data sets and the preprocessing of images. Imports nothing of ours but `artifact.contract`."""

from netsuke.data.crop import RandomResizedCrop
from netsuke.data.dataset import ArrayDataset, Dataset
from netsuke.data.imagefolder import ImageFolder
from netsuke.data.loader import Loader
from netsuke.data.normalise import normalise
from netsuke.data.preprocess import Preprocess
from netsuke.data.spec import Sizing, kinds, open_dataset
from netsuke.data.subset import holdout, subset
from netsuke.data.webdataset import WebDataset, shard_order

__all__ = [
    "ArrayDataset",
    "Dataset",
    "ImageFolder",
    "Loader",
    "Preprocess",
    "RandomResizedCrop",
    "Sizing",
    "WebDataset",
    "holdout",
    "kinds",
    "normalise",
    "open_dataset",
    "shard_order",
    "subset",
]
