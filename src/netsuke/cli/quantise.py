"""The float counterpart in int8, as OpenVINO's users make it: NNCF's post-training quantisation."""

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


def quantise(onnx: str | Path, shape: tuple[int, int, int, int], path: Path) -> None:
    """Write an ONNX network as an int8 OpenVINO model, at `path` (.xml) and beside it (.bin).

    NNCF's default settings; calibrated on normal images of `shape` (N, C, H, W), seed 0: the ranges fit the random
    weights and mean nothing else, only the time is of interest. Raises Error where NNCF is missing or refuses.
    """
    os.environ.setdefault("NNCF_CI", "1")  # it would report its use to its makers
    require("bench", "openvino", "nncf")
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    random = np.random.default_rng(0)
    batches = [random.standard_normal(shape, np.float32) for _ in range(math.ceil(CALIBRATION_IMAGES / shape[0]))]
    try:
        model = openvino.Core().read_model(onnx)
        model.reshape(list(shape))
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
            quantised = nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))
        openvino.save_model(quantised, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise Error(f"NNCF does not quantise {onnx}: {first_line(error)}") from None
