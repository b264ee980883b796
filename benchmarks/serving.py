"""Measures the served model: from start to first answer, one image, batches, clients at once, and memory.

    python benchmarks/serving.py --model models/resnet18 --images DIR [--seconds 5] [--requests 1000]

Serves the model (a folder with `model.keras` and `meta.json`, or an MLflow model folder) by `mlflow models serve` on
loopback and asks it over HTTP, beside OpenCV's Haar cascade and the bare network on the same images. Prints a table
for people and one line of JSON for scripts. The machine may be noisy: compare figures of one run with each other,
not with those of another.
"""

import argparse
import base64
import functools
import http.client
import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from selfie_localizer import params
from selfie_localizer.annotators.haar import Haar
from selfie_localizer.network.network_file import FIRST_FORM, FORMS
from selfie_localizer.photos.decode import decode, read_bytes, square
from selfie_localizer.photos.listing import SUFFIXES
from selfie_localizer.progress import say
from selfie_localizer.serving import find_model, mlflow_model, network_formats

BATCHES = (1, 8, 32)
CLIENTS = (1, 4, 16)
START_SECONDS = 180


@contextmanager
def served(model: Path, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Gives the port of a server that has just been started, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        yield port, psutil.Process(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait(port: int, process: psutil.Process, log: Path) -> None:
    """Returns as soon as the server says that it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2).close()
            return
        except OSError:
            if time.monotonic() > deadline or process.status() == psutil.STATUS_ZOMBIE:
                sys.exit(f"the server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)


class Client:
    """One HTTP client with one connection that it keeps."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, body: bytes) -> list[dict[str, Any]]:
        self._connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            sys.exit(f"the server answered {response.status}: {content[:300]!r}")
        rows: list[dict[str, Any]] = json.loads(content)["predictions"]
        if errors := [row["error"] for row in rows if row["error"]]:
            sys.exit(f"the server refused an image: {errors[0]}")
        return rows


def bodies(data: list[bytes], batch: int) -> list[bytes]:
    """Returns requests of `batch` images each, which go round through all images."""
    texts = itertools.cycle([base64.b64encode(item).decode() for item in data])
    count = max(1, min(len(data) // batch, 64))
    records = [[{"image": next(texts)} for _ in range(batch)] for _ in range(count)]
    return [json.dumps({"dataframe_records": record}).encode() for record in records]


def clients_rate(port: int, requests: list[bytes], clients: int, seconds: float) -> float:
    """Returns the answers per second of so many clients at once, each asking again as soon as it is answered."""
    deadline = time.monotonic() + seconds

    def work(start: int) -> int:
        client, done = Client(port), 0
        while time.monotonic() < deadline:
            client.ask(requests[(start + done) % len(requests)])
            done += 1
        return done

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        done = sum(pool.map(work, range(clients)))
    return done / (time.perf_counter() - start)


def haar(data: list[bytes]) -> Callable[[], object]:
    """Returns a call of Haar as the annotate stage uses it, from an image's bytes to its box; it goes round."""
    annotator, turn = Haar("haar", params.Haar()), itertools.cycle(data)
    return lambda: annotator.locate(decode(next(turn)).pixels)


def alternately(calls: list[Callable[[], object]], seconds: float) -> list[float]:
    """Returns the median time of each call; they take turns, so that what else the machine does is in all of them."""
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    while sum(map(sum, times)) < seconds or len(times[0]) < 5:
        for call, found in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]


def bare_network(model: Path, data: list[bytes]) -> dict[int, Callable[[], object]]:
    """Returns a call of the bare network for each batch size: pixels of its size in, numbers out."""
    meta = find_model.meta(model)
    size, form = meta["image_size"], FORMS[meta.get("form", FIRST_FORM)]
    network = form.load(model / "artifacts" / form.name)
    pixels = [square(item, size)[0] for item in data[: max(BATCHES)]]
    stacks = {batch: np.stack(list(itertools.islice(itertools.cycle(pixels), batch))) for batch in BATCHES}
    return {batch: functools.partial(network, stack) for batch, stack in stacks.items()}


def memory(process: psutil.Process) -> float:
    """Returns the resident memory of a process and its children in MB."""
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) / 2**20


def measure(model: Path, data: list[bytes], seconds: float, requests: int, folder: Path) -> dict[str, Any]:
    """Runs everything; times in ms, memory in MB."""
    result: dict[str, Any] = {"images": len(data), "cores": os.cpu_count()}
    bare = bare_network(model, data)
    start = time.perf_counter()
    with served(model, folder) as (port, process):
        wait(port, process, folder / "server.log")
        client = Client(port)
        client.ask(bodies(data, 1)[0])
        result["start_to_first_answer_s"] = time.perf_counter() - start
        result["batches"] = {}
        for batch in BATCHES:
            say(f"batch {batch}")
            turn = itertools.cycle(bodies(data, batch))
            ask = lambda turn=turn: client.ask(next(turn))  # noqa: E731
            calls = [ask, bare[batch], *([haar(data)] if batch == 1 else [])]
            http_seconds, network_seconds, *others = alternately(calls, len(calls) * seconds)
            if others:
                result["haar_ms"] = others[0] * 1e3
            result["batches"][batch] = {
                "http_ms": http_seconds * 1e3,
                "network_ms": network_seconds * 1e3,
                "added_ms_per_image": (http_seconds - network_seconds) / batch * 1e3,
                "images_per_s": batch / http_seconds,
            }
        single = bodies(data, 1)
        result["clients"] = {}
        for clients in CLIENTS:
            say(f"{clients} clients")
            result["clients"][clients] = clients_rate(port, single, clients, seconds)
        say(f"{requests:,} requests for memory")
        result["memory_mb"] = []
        # The server closes a connection that was idle for 5 s.
        client = Client(port)
        for done in range(requests):
            if done % max(1, requests // 5) == 0:
                result["memory_mb"].append(round(memory(process), 1))
            client.ask(single[done % len(single)])
        result["memory_mb"].append(round(memory(process), 1))
    return result


def table(result: dict[str, Any]) -> str:
    lines = [
        f"start to first answer        {result['start_to_first_answer_s']:8.1f} s",
        f"Haar without HTTP, one image {result['haar_ms']:8.1f} ms",
        "",
        "batch   HTTP ms   network ms   added ms/image   images/s",
    ]
    lines += [
        f"{batch:>5}  {row['http_ms']:8.1f}  {row['network_ms']:11.1f}  {row['added_ms_per_image']:15.2f}"
        f"  {row['images_per_s']:9.1f}"
        for batch, row in result["batches"].items()
    ]
    lines += ["", "clients (one image each)    images/s"]
    lines += [f"{clients:>7}                     {rate:8.1f}" for clients, rate in result["clients"].items()]
    lines += ["", "memory over the requests, MB: " + ", ".join(f"{value:.0f}" for value in result["memory_mb"])]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="models/BACKBONE or an MLflow model folder")
    parser.add_argument("--images", type=Path, required=True, help="folder with selfies")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement (default: 5)")
    parser.add_argument("--requests", type=int, default=1000, help="requests of the memory measurement")
    args = parser.parse_args()
    paths = sorted(path for path in args.images.rglob("*") if path.suffix.lower() in SUFFIXES)[:200]
    if not paths:
        sys.exit(f"no images in {args.images}")
    with tempfile.TemporaryDirectory() as holder:
        model = args.model
        if (model / "model.keras").exists():
            model = Path(holder) / "served"
            meta, serving = json.loads((args.model / "meta.json").read_text()), mlflow_model.DEFAULT_SERVING
            # TensorFlow is needed for a Keras model alone.
            from selfie_localizer.network import inference

            network, path = inference.load(args.model / "model.keras"), Path(holder) / "network.onnx"
            network_formats.write_served(network, serving, None, meta["image_size"], path, args.model)
            mlflow_model.save_served(path, meta, model)
        data = [read_bytes(path) for path in paths]
        result = measure(model, data, args.seconds, args.requests, Path(holder))
    print(table(result))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
