"""Runs in Larq Compute Engine's environment, which knows no netsuke.

    larq_worker.py convert FILE     write BinaryResNet-E18 with random weights
    larq_worker.py race REQUEST     be a process of the race: the protocol of netsuke/cli/worker.py

A request holds cores, threads, input (C, H, W), file, and the interpreter's setting: "default", which is what
Larq's documentation shows, or "indirect", with its indirect binary product and XNNPACK switched on, which is faster.
"""

import json
import os
import sys
import time


def convert(path: str) -> None:
    import larq_compute_engine
    import larq_zoo

    content = larq_compute_engine.convert_keras_model(larq_zoo.literature.BinaryResNetE18(weights=None))
    with open(path + ".part", "wb") as file:
        file.write(content)
    os.replace(path + ".part", path)


def race(request: dict) -> None:
    os.sched_setaffinity(0, request["cores"])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # TensorFlow's remarks must not mix with the answers
    import larq_compute_engine
    import numpy as np

    fast = request["setting"] == "indirect"
    with open(request["file"], "rb") as file:
        interpreter = larq_compute_engine.testing.Interpreter(
            file.read(), num_threads=request["threads"], use_indirect_bgemm=fast, use_xnnpack=fast
        )
    channels, height, width = request["input"]
    images = np.random.default_rng(0).standard_normal((1, height, width, channels), np.float32)
    interpreter.predict(images)

    facts = {"precision": "1-bit", "version": larq_compute_engine.__version__}
    print(json.dumps({"ready": facts}), file=answers, flush=True)
    for line in sys.stdin:
        interpreter.predict(images)
        seconds = []
        for _ in range(int(line)):
            started = time.perf_counter()
            interpreter.predict(images)
            seconds.append(time.perf_counter() - started)
        print(json.dumps({"seconds": seconds}), file=answers, flush=True)


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if sys.argv[1] == "convert":
        convert(sys.argv[2])
    else:
        race(json.loads(sys.argv[2]))
