"""The served model. MLflow runs this file as it is ("models from code"): nothing is pickled.

One `string` column `image` goes in, base64 of a JPEG, PNG or WebP; the columns of `locator.COLUMNS` come out.
"""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from selfie_localizer.network.network_file import FORMS
from selfie_localizer.serving.locator import COLUMNS, Locator, from_base64


class ServedLocalizer(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined]
    """Answers one row for each image; an image that cannot be used costs its own row an `error` and nothing else."""

    def load_context(self, context: Any) -> None:
        """Loads the network and runs it once, so that a server that says it is ready answers at full speed."""
        meta = json.loads(Path(context.artifacts["meta"]).read_text(encoding="utf-8"))
        size = meta["image_size"]
        network = FORMS[meta["form"]].load(Path(context.artifacts["network"]))
        network(np.zeros((1, size, size, 3), np.uint8))
        self._locator = Locator(network, size, looks_again=meta["second_look"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Returns the boxes, see `locator.Locator.locate`; `None` becomes JSON's `null`, which NaN would not."""
        rows = self._locator.locate(model_input["image"].tolist(), from_base64)
        return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)


mlflow.models.set_model(ServedLocalizer())
