"""A tiny network and a synthetic store: coloured blobs in place of faces."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes as box_math
from selfie_localizer import params
from selfie_localizer.dataset.store import Store, open_store, write_store

SIZE = 32
# Five convolutions and as many poolings: quick to compile, with BatchNormalization in its vectorizer.
TINY = params.Backbone(
    architecture="VGGBackbone",
    arguments={"stackwise_num_repeats": (1, 1, 1, 1, 1), "stackwise_num_filters": (8, 8, 16, 16, 16)},
)


def make_store(folder: Path, train: int = 64, validation: int = 16, test: int = 8, labelled: bool = True) -> Store:
    """Writes and opens a store of ellipses on plain colours."""
    rng = np.random.default_rng(0)
    count = train + validation + test
    centre, half = rng.uniform(0.3, 0.7, (count, 2)), rng.uniform(0.15, 0.28, (count, 2))
    boxes = np.concatenate([centre - half, centre + half], axis=1) * SIZE
    table = pd.DataFrame({"image": [f"{i}.jpg" for i in range(count)]})
    table["split"] = ["train"] * train + ["validation"] * validation + ["test"] * test
    table["sha256"] = [f"{i:064x}" for i in range(count)]
    table["width"] = table["height"] = SIZE
    table["verdict"], table["annotators"], table["spread"] = "alone", "blob", np.nan
    table[box_math.SIDES] = boxes if labelled else np.nan

    def fill(path: Path) -> None:
        images = np.load(path, mmap_mode="r+")
        y, x = (np.mgrid[0:SIZE, 0:SIZE] + 0.5) / SIZE
        for row in range(count):
            inside = ((x - centre[row, 0]) / half[row, 0]) ** 2 + ((y - centre[row, 1]) / half[row, 1]) ** 2 < 1
            images[row] = rng.integers(0, 100, 3)
            images[row][inside] = rng.integers(150, 256, 3)
        images.flush()

    write_store(folder, table, SIZE, fill)
    return open_store(folder)


def make_settings(**train: Any) -> params.Params:
    """Parameters of a short training of the tiny network; keywords replace those of `train`."""
    chosen = {"epochs": 3, "batch_size": 16, "learning_rate": 5e-3, "ema": 0.8, "min_change": 0.0, **train}
    return params.Params(backbones={"tiny": TINY}, network=params.Network(head_width=16), train=params.Train(**chosen))


def get_weights(model: keras.Model) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.variables]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("blobs") / "store")


@pytest.fixture(autouse=True, scope="module")
def own_tracking_store() -> None:
    """Runs go to the database of each test's own folder, whatever earlier tests of this process told MLflow."""
    import mlflow

    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # None forgets it, whatever the signature says.
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(autouse=True)
def policy() -> Iterator[None]:
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


@pytest.fixture
def fit(store: Store) -> Callable[..., Any]:
    """Fits the tiny network; keywords of `params.Train` and of `Fitter.fit` may be mixed."""
    from selfie_localizer.training.fit import Fitter

    def run(state: Path | None = None, on_epoch: Any = None, **train: Any) -> Any:
        rows = store.indices("train"), store.indices("validation")
        return Fitter("tiny", store).fit(make_settings(**train), *rows, state=state, on_epoch=on_epoch)

    return run
