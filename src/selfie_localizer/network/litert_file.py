"""A localizer as a LiteRT file, run by the interpreter of the package `ai-edge-litert`.

The module is copied into served models, so it imports neither Keras nor TensorFlow.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfie_localizer.errors import UserError
from selfie_localizer.network.onnx_file import Network, core_count
from selfie_localizer.quiet import no_stderr


def load(path: Path, threads: int = 0) -> Network:
    """Loads a network; the images of a batch are answered one by one, each on one core, several at a time.

    So an image's numbers do not depend on those beside it. Safe to call from several threads.

    Args:
        path: The LiteRT file.
        threads: How many images are answered at a time; 0 means all cores that this process may use.

    Raises:
        UserError: The package is not installed.
        ValueError: The file is damaged.
    """
    interpreter_class = _interpreter_class()
    # Each thread's interpreter is made later, when the file may be gone.
    content = path.read_bytes()
    # One that cannot be used shows itself here, not at the first image; and the first of a process greets.
    with no_stderr():
        interpreter_class(model_content=content, num_threads=1).allocate_tensors()
    own = threading.local()

    def answer(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        # An interpreter is for one thread alone.
        if not hasattr(own, "interpreter"):
            own.interpreter = interpreter_class(model_content=content, num_threads=1)
            own.interpreter.allocate_tensors()
            own.input = own.interpreter.get_input_details()[0]["index"]
            own.output = own.interpreter.get_output_details()[0]["index"]
        own.interpreter.set_tensor(own.input, image[None])
        own.interpreter.invoke()
        return np.array(own.interpreter.get_tensor(own.output)[0])

    pool = ThreadPoolExecutor(threads or core_count(), thread_name_prefix="litert")

    def network(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.stack(list(pool.map(answer, pixels)))

    return network


def _interpreter_class() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(
            f"serving.form litert_int8 needs the package ai-edge-litert, which cannot be imported ({error}); "
            "`pip install ai-edge-litert`, or set serving.form: onnx"
        ) from None
    return Interpreter
