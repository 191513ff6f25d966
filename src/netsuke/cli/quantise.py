"""The float counterpart in int8, as users of OpenVINO and of ONNX Runtime make it: post-training quantisation.

Calibrated on normal images, seed 0: the ranges fit the random weights and mean nothing else, only the time is of
interest.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
from pathlib import Path

import numpy as np

from netsuke.artifact.contract import Error, first_line
from netsuke.cli.output import require

CALIBRATION_IMAGES = 16


def quantise_for_openvino(onnx: str | Path, shape: tuple[int, int, int, int], path: Path) -> None:
    """Write an ONNX network for images of `shape` (N, C, H, W) as an int8 OpenVINO model, .xml and beside it .bin.

    NNCF's default settings. Raises Error where NNCF is missing or refuses.
    """
    os.environ.setdefault("NNCF_CI", "1")  # it would report its use to its makers
    require("bench", "openvino", "nncf")
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    batches = _batches(shape)
    try:
        model = openvino.Core().read_model(onnx)
        model.reshape(list(shape))
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
            quantised = nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))
        openvino.save_model(quantised, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise Error(f"NNCF does not quantise {onnx}: {first_line(error)}") from None


def quantise_for_onnxruntime(onnx: str | Path, shape: tuple[int, int, int, int], path: Path) -> None:
    """Write an ONNX network for images of `shape` (N, C, H, W) as an int8 one: QDQ form, 8-bit weights per channel.

    Raises Error where ONNX Runtime is missing or refuses.
    """
    require("bench", "onnx", "onnxruntime")
    import onnxruntime
    from onnxruntime import quantization

    try:
        name = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"]).get_inputs()[0].name
        batches = iter([{name: images} for images in _batches(shape)])

        class Batches(quantization.CalibrationDataReader):
            def get_next(self) -> dict[str, np.ndarray] | None:
                return next(batches, None)

        logging.disable(logging.WARNING)  # it proposes a preparation that our networks do not need
        quantization.quantize_static(onnx, path, Batches(), per_channel=True)
    except Exception as error:  # its errors have no common public class
        raise Error(f"ONNX Runtime does not quantise {onnx}: {first_line(error)}") from None
    finally:
        logging.disable(logging.NOTSET)


def _batches(shape: tuple[int, int, int, int]) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.standard_normal(shape, np.float32) for _ in range(math.ceil(CALIBRATION_IMAGES / shape[0]))]


# By candidate: what makes its file, and how that file's name ends.
QUANTISERS = {
    "openvino_int8": (quantise_for_openvino, ".xml"),
    "onnxruntime_int8": (quantise_for_onnxruntime, ".onnx"),
}
