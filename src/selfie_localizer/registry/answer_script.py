"""Asks a served model for the boxes of image files: a script that `rescore.py` runs in a process of its own.

It imports nothing of this package, so that MLflow takes the code that was logged beside the model.

Usage: python ask.py MODEL REQUEST ANSWER. MODEL is a folder; REQUEST is JSON with `images` (paths) and `timed` (how
many of them are asked for again, one by one, to measure the latency); ANSWER becomes JSON with either `boxes` (a list
of four numbers or null for each image) and `latency_ms` (the median, or null), or `error`. Prints the number of images
done so far, a line for each batch.
"""

import base64
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

BATCH = 32
BOX = ("x1", "y1", "x2", "y2")


def ask(folder: str, images: list[str], timed: int) -> dict[str, Any]:
    import mlflow.pyfunc
    import pandas as pd

    model = mlflow.pyfunc.load_model(folder)

    def answers(paths: list[str]) -> list[dict[str, Any]]:
        texts = [base64.b64encode(Path(path).read_bytes()).decode() for path in paths]
        return list(model.predict(pd.DataFrame({"image": texts})).to_dict("records"))

    boxes: list[list[float] | None] = []
    for start in range(0, len(images), BATCH):
        rows = answers(images[start : start + BATCH])
        boxes += [None if row["error"] is not None else [float(row[key]) for key in BOX] for row in rows]
        print(len(boxes), flush=True)
    times = []
    for path in images[:timed]:
        begin = time.perf_counter()
        answers([path])
        times.append(1000 * (time.perf_counter() - begin))
    return {"boxes": boxes, "latency_ms": statistics.median(times) if times else None}


def main(folder: str, request: str, answer: str) -> None:
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    try:
        content = ask(folder, asked["images"], asked["timed"])
    # Whatever an old model's code may raise says that it cannot answer.
    except Exception as error:
        line = (str(error).splitlines() or [""])[0][:200]
        content = {"error": f"{type(error).__name__}: {line}"}
    Path(answer).write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
