"""The files in which a network is served, by the name of their form in `serving.form`, and who reads them.

The module is copied into every served model, so it imports neither Keras nor TensorFlow.
"""

from collections.abc import Callable
from dataclasses import dataclass

from selfie_localizer.network import litert_file, onnx_file
from selfie_localizer.network.onnx_file import Network


@dataclass(frozen=True)
class NetworkFile:
    """One form.

    Attributes:
        name: Of the file.
        package: Of the runtime that reads it.
        load: Reads it; like `onnx_file.load` it takes the path and `threads`.
    """

    name: str
    package: str
    load: Callable[..., Network]


# What a version was served in before there was a choice.
FIRST_FORM = "onnx"
FORMS = {
    "onnx": NetworkFile("network.onnx", "onnxruntime", onnx_file.load),
    "litert_int8": NetworkFile("network.tflite", "ai-edge-litert", litert_file.load),
}
