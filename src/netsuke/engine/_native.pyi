"""The compiled module: csrc/bindings/python.cc."""

import numpy as np

limits: dict[str, int]

def available_isas() -> list[str]: ...
def peak(isa: str) -> tuple[float, float, float]: ...

class Model:
    model: str
    isa: str
    threads: int
    input_shape: tuple[int, int, int]
    takes_uint8: bool
    nodes: int
    sparse_nodes: dict[int, int]
    codebook_nodes: list[int]

    def __init__(self, data: bytes, isa: str, threads: int) -> None: ...
    def run_f32(self, images: np.ndarray) -> list[np.ndarray]: ...
    def run_u8(self, images: np.ndarray) -> list[np.ndarray]: ...
    def run_node(self, index: int, inputs: dict[int, np.ndarray]) -> dict[int, np.ndarray]: ...
    def profile(self, images: np.ndarray, runs: int) -> list[tuple[str, str, float]]: ...

class EmbeddingTable:
    isa: str

    def __init__(self, rows: np.ndarray, columns: int, padding: int, mean: bool, isa: str) -> None: ...
    def look_up(self, indices: np.ndarray, offsets: np.ndarray, weights: np.ndarray | None) -> np.ndarray: ...
