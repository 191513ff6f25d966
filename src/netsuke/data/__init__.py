"""Readers of data sets and the preprocessing of images. Imports nothing of ours but `artifact.contract`."""

from netsuke.data.annotation import Annotation
from netsuke.data.average_precision import AveragePrecision, average_precision
from netsuke.data.crop import RandomResizedCrop
from netsuke.data.dataset import ArrayDataset, Dataset, Source
from netsuke.data.detection_dataset import DetectionDataset
from netsuke.data.detections import Detections, detections
from netsuke.data.imagefolder import ImageFolder
from netsuke.data.loader import Loader
from netsuke.data.normalise import normalise
from netsuke.data.preprocess import Preprocess
from netsuke.data.spec import Sizing, kinds, open_dataset, open_detection
from netsuke.data.ssd_augmentation import SSDAugmentation
from netsuke.data.subset import holdout, subset
from netsuke.data.voc import VOC
from netsuke.data.webdataset import WebDataset, shard_order

__all__ = [
    "VOC",
    "Annotation",
    "ArrayDataset",
    "AveragePrecision",
    "Dataset",
    "DetectionDataset",
    "Detections",
    "ImageFolder",
    "Loader",
    "Preprocess",
    "RandomResizedCrop",
    "SSDAugmentation",
    "Sizing",
    "Source",
    "WebDataset",
    "average_precision",
    "detections",
    "holdout",
    "kinds",
    "normalise",
    "open_dataset",
    "open_detection",
    "shard_order",
    "subset",
]
