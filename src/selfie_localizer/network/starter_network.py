"""The first model: the starter weights as an ONNX network, made once with Keras and run without it ever after."""

import time
from functools import cache
from importlib.metadata import version
from pathlib import Path

from selfie_localizer import dependencies, files, params
from selfie_localizer.errors import UserError
from selfie_localizer.network import onnx_file, starter_weights
from selfie_localizer.progress import duration, say
from selfie_localizer.state import cache_folder

ARCHITECTURE = "resnet18"
# What the starter weights were trained at, in pixels.
IMAGE_SIZE = 128
_PACKAGES = ("keras", "keras-hub", "onnx", "onnxruntime", "tensorflow", "tf2onnx")


def digest(root: Path = Path(".")) -> str:
    """Returns what names the network: a digest of its weights, its code and the packages that make and run it.

    Args:
        root: The project's folder.

    Raises:
        UserError: The weights are not there.
    """
    path = starter_weights.path_of(ARCHITECTURE)
    try:
        weights = (root / path).read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: the starter weights cannot be read ({error.strerror}); "
            "fetch them by `dvc pull -r sample starter.dvc`"
        ) from None
    return files.digest(_code(), weights)


def onnx_path(root: Path = Path(".")) -> Path:
    """Returns the network's ONNX file in the project's cache; where it is not there or damaged, it is made.

    Raises:
        UserError: The weights are not there or damaged, or the file cannot be written.
    """
    path = cache_folder(root) / f"starter-{digest(root)[:16]}.onnx"
    if path.exists():
        try:
            onnx_file.load(path)
            return path
        # The runtime's errors have nothing in common but this.
        except Exception:
            say(f"{path}: damaged, and made anew")
    start = time.monotonic()
    try:
        _make(root, path)
        for other in path.parent.glob("starter-*.onnx"):
            if other != path:
                other.unlink()
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); make room, or the folder writable") from None
    say(f"{path.name}: made of the starter weights in {duration(time.monotonic() - start)}, kept in {path.parent}")
    return path


def _make(root: Path, path: Path) -> None:
    from selfie_localizer.network import localizer

    model = localizer.build(params.Backbone(architecture=ARCHITECTURE), params.Network(), IMAGE_SIZE)
    starter_weights.load(model, ARCHITECTURE, root)
    with files.atomic_write(path) as temporary:
        onnx_file.export(model, temporary, IMAGE_SIZE)


@cache
def _code() -> str:
    return files.digest(dependencies.code_digest(__name__), {name: version(name) for name in _PACKAGES})
