"""The networks that the suite times, as files: .netsuke, ONNX float32 and int8. Random weights of seed 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from netsuke.cli.counterpart import float_counterpart, write_onnx
from netsuke.cli.quantise import QUANTISERS
from netsuke.data import Preprocess
from netsuke.lowering.export import export
from netsuke.models import create_model, get_model
from netsuke.nn import progressive

CALIBRATION_IMAGES = 8


@dataclass(frozen=True)
class Network:
    """A one-bit network of the registry for square images of `size` pixels.

    width: channels of the first stage, where the model takes that, else None.
    """

    model: str
    size: int
    width: int | None = None

    @property
    def input(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return 3, self.size, self.size

    @property
    def arguments(self) -> dict[str, Any]:
        return {} if self.width is None else {"width": self.width}


class Files:
    """Files of networks in one folder, each made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def netsuke(self, network: Network, float_layers: str) -> Path:
        """The engine's file, its float layers in "float32" or "int8"."""

        def make(path: Path) -> None:
            module = create_model(network.model, **network.arguments).eval()
            progressive(module, 1)  # binarizers that need training to become binary
            preprocess = Preprocess(**get_model(network.model).preprocess)
            images = _images(CALIBRATION_IMAGES, network)
            int8: dict[str, Any] = {"float_layers": "int8", "calibration": images} if float_layers == "int8" else {}
            export(module, images[:2], path, preprocess=preprocess, model=network.model, **int8)

        return self._made(f"{_stem(network)}_{float_layers}.netsuke", make)

    def onnx(self, network: Network, batch: int) -> Path:
        """The float counterpart, batch norm folded, for exactly this batch."""

        def make(path: Path) -> None:
            write_onnx(float_counterpart(network.model, None, **network.arguments), (batch, *network.input), path)

        return self._made(f"{_stem(network)}_b{batch}.onnx", make)

    def int8(self, network: Network, batch: int, candidate: str) -> Path:
        """The float counterpart in int8 for openvino_int8 (.xml, the weights beside it in .bin) or onnxruntime_int8."""
        onnx = self.onnx(network, batch)
        quantise, ending = QUANTISERS[candidate]

        def make(path: Path) -> None:
            quantise(onnx, (batch, *network.input), path)

        return self._made(f"{_stem(network)}_b{batch}_{candidate}{ending}", make)

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        path = self._folder / name
        if not path.exists():
            make(path)
        return path


def _stem(network: Network) -> str:
    return f"{network.model}_{network.size}" + ("" if network.width is None else f"_w{network.width}")


def _images(count: int, network: Network) -> torch.Tensor:
    return torch.randn(count, *network.input, generator=torch.Generator().manual_seed(0))
