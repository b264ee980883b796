"""The first model: the starter weights as an ONNX network, which answers without Keras."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selfie_localizer import files
from selfie_localizer.errors import UserError
from selfie_localizer.network import onnx_file, starter_weights

if TYPE_CHECKING:
    import keras

ARCHITECTURE = "resnet18"
# What the starter weights were trained at, in pixels.
IMAGE_SIZE = 128
NETWORK = starter_weights.STARTER / f"{ARCHITECTURE}.onnx"
# What to do where it is missing.
HINT = "fetch it by `dvc pull -r sample starter.dvc`"
# Arrays of fewer numbers stay as they are: they are biases.
_LEAST = 1024


def digest(root: Path = Path(".")) -> str:
    """Returns what names the network.

    Args:
        root: The project's folder.

    Raises:
        UserError: It is not there.
    """
    return files.sha256(_readable(root).read_bytes())


def _readable(root: Path) -> Path:
    path = root / NETWORK
    try:
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"{NETWORK}: the first model cannot be read ({error.strerror}); {HINT}") from None
    return path


def load(root: Path = Path("."), threads: int = 0) -> onnx_file.Network:
    """Loads the network.

    Args:
        root: The project's folder.
        threads: As in `onnx_file.load`.

    Raises:
        UserError: It is not there or damaged.
    """
    path = _readable(root)
    try:
        return onnx_file.load(path, threads)
    # The runtime's errors have nothing in common but this.
    except Exception:
        raise UserError(f"{NETWORK}: damaged; remove it and {HINT}") from None


def write(model: "keras.Model", path: Path) -> None:
    """Writes a localizer as ONNX with kernels of 8 bits, which are floats again once it is loaded.

    Args:
        model: Has starter weights, and computes in float32.
        path: The file.
    """
    import onnx
    from onnx import helper, numpy_helper

    with files.atomic_write(path) as temporary:
        onnx_file.export(model, temporary, IMAGE_SIZE)
        network = onnx.load(temporary)
        graph = network.graph
        convolved = {node.input[1] for node in graph.node if node.op_type == "Conv"}
        for kernel in [array for array in graph.initializer if array.name in convolved]:
            values = numpy_helper.to_array(kernel)
            if values.size < _LEAST:
                continue
            # ONNX has the output channel first, Keras last.
            whole, scale = starter_weights.quantise(np.moveaxis(values, 0, -1))
            names = [f"{kernel.name}/{part}" for part in ("whole", "scale")]
            graph.initializer.remove(kernel)
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(np.moveaxis(whole, -1, 0)), names[0]))
            graph.initializer.append(numpy_helper.from_array(scale, names[1]))
            graph.node.insert(0, helper.make_node("DequantizeLinear", names, [kernel.name], axis=0))
        onnx.save(network, temporary)
