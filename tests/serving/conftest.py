"""A small served model and a real `mlflow models serve` process, made once for all tests here."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

SIZE = 64
RESNET = {
    "input_conv_filters": (64,),
    "input_conv_kernel_sizes": (3,),
    "stackwise_num_filters": (64, 8, 8, 8),
    "stackwise_num_blocks": (1, 1, 1, 1),
    "stackwise_num_strides": (1, 2, 2, 2),
    "block_type": "basic_block",
    "use_pre_activation": False,
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `train` leaves it, with a small network whose boxes depend much on the image."""
    import keras

    from selfie_localizer import files, params
    from selfie_localizer.network import localizer

    keras.utils.set_random_seed(1)
    backbone = params.Backbone(architecture="ResNetBackbone", arguments=RESNET)
    model = localizer.build(backbone, params.Network(head_width=8), SIZE)
    for name in ("head_distances", "head_attention", "head_score"):
        layer = model.get_layer(name)
        kernel, bias = layer.get_weights()
        layer.set_weights([np.random.default_rng(2).normal(0, 0.5, kernel.shape), bias])
    folder = tmp_path_factory.mktemp("models") / "small"
    folder.mkdir()
    model.save(folder / "model.keras")
    files.write_json(folder / "meta.json", {"image_size": SIZE, "backbone": "small", "model_digest": "0" * 64})
    return folder


@pytest.fixture(scope="session")
def served(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as a local MLflow model."""
    import json

    from selfie_localizer.serving import mlflow_model
    from tests.serving.networks import write_network

    folder = tmp_path_factory.mktemp("served")
    network = write_network(trained / "model.keras", folder)
    mlflow_model.save_served(network, json.loads((trained / "meta.json").read_text()), folder / "model")
    return folder / "model"


@pytest.fixture(scope="session")
def service(served: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the model behind `mlflow models serve`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("service")
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(served), "--env-manager", "local"]
    command += ["-h", "127.0.0.1", "-p", str(port)]
    # MLflow starts uvicorn by its name, which an activated environment has on its path.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((folder / "log").read_text()) from None
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
