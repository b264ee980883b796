"""A trained network as a file that can be served."""

from pathlib import Path

from selfie_localizer import params
from selfie_localizer.serving.mlflow_model import DEFAULT_SERVING


def write_network(model_keras: Path, folder: Path, serving: params.Serving = DEFAULT_SERVING) -> Path:
    """Writes the network of a `.keras` file into a folder, in the form of `serving`, and returns its path."""
    from selfie_localizer.network import inference
    from selfie_localizer.network.network_file import FORMS
    from selfie_localizer.serving import network_formats

    model = inference.load(model_keras)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FORMS[serving.form].name
    network_formats.write_served(model, serving, None, model.input_shape[1], path, model_keras)
    return path
