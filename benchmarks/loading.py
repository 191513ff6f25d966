"""The process that times how long an engine takes from a file to a network that can run.

Started by racing.py as `loading.py REQUEST`, a request of candidates.py. The file is in the system's cache, the
engine's own library loaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from netsuke.cli.candidates import onnxruntime_session, openvino_compiled, prepare_candidate
from netsuke.cli.worker import Prepared, serve
from netsuke.engine import load


def prepare(request: dict[str, Any]) -> Prepared:
    """What loads the candidate; it is prepared once for its facts."""
    loaders: dict[str, Callable[[], object]] = {
        "netsuke": lambda: load(request["file"], threads=request["threads"], isa=request["isa"]),
        "onnxruntime_f32": lambda: onnxruntime_session(request, request["onnx"]),
        "openvino_int8": lambda: openvino_compiled(request, request["openvino_int8"]),
    }
    return loaders[request["candidate"]], prepare_candidate(request)[1]


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]), prepare)
