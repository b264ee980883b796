"""A trained localizer as files that other programs can use: the `export` command."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfie_localizer import files, params
from selfie_localizer.dataset.store import FIT, open_store
from selfie_localizer.errors import UsageError, UserError
from selfie_localizer.progress import say
from selfie_localizer.serving import find_model, network_formats

SIDECAR = "preprocessing.json"


def export(formats: Sequence[str], out: Path, model: str | None = None, root: Path = Path(".")) -> None:
    """Writes a trained localizer in other forms, and beside them what has to be done to an image first.

    Each file is written only after its boxes were compared with the Keras model's; see `network_formats.write` and, of
    `litert_int8`, `write_served`, on the validation photos where the project has a store of the model's size.

    Args:
        formats: Some of `savedmodel`, `onnx`, `litert` and `litert_int8`.
        out: A folder; what an earlier export wrote there is replaced, nothing else is touched.
        model: As in `predict`; None is the champion.
        root: The project's folder.

    Raises:
        UsageError: A format is unknown, or none is given.
        UserError: There is no such model, or a form's boxes are more than half a pixel off (`litert_int8`: more than
            `serving.max_shift_px`), or `out` cannot be written.
    """
    chosen: list[network_formats.Form] = [form for form in network_formats.NAMES if form in formats]
    if not chosen or set(formats) - set(network_formats.NAMES):
        raise UsageError(
            f"--format: {','.join(formats) or 'nothing'} given; choose from {', '.join(network_formats.NAMES)}"
        )
    name = model or find_model.CHAMPION
    with find_model.folder(name, root) as folder:
        trained = find_model.load_trained(name, folder, root)
    written: dict[str, Any] = {}
    for form in chosen:
        target = out / network_formats.NAMES[form]
        try:
            with files.atomic_write(target) as temporary:
                difference = _write(trained, form, temporary, name, root)
        except OSError as error:
            raise UserError(f"--out {out}: cannot be written ({error.strerror})") from None
        written[form] = {"file": target.name, "difference_px": difference}
        say(f"export: {target}, its boxes within {difference:.4f} px of the Keras model's")
    files.write_json(out / SIDECAR, sidecar(trained.image_size) | {"model": name, "forms": written})
    say(f"export: {out / SIDECAR} says what has to be done to an image first")


def _write(trained: find_model.Trained, form: network_formats.Form, path: Path, shown: str, root: Path) -> float:
    if form != "litert_int8":
        return network_formats.write(trained.model, form, trained.image_size, path, shown)
    settings = params.load(root / params.PARAMS) if (root / params.PARAMS).exists() else params.Params()
    serving = settings.serving.model_copy(update={"form": form})
    store = open_store(root / FIT) if (root / FIT).exists() else None
    photos = network_formats.validation_photos(store) if store and store.size == trained.image_size else None
    return network_formats.write_served(trained.model, serving, photos, trained.image_size, path, shown)


def sidecar(image_size: int) -> dict[str, Any]:
    """Returns in words and numbers what `photos.decode` and the network's own first layer do."""
    return {
        "input": {
            "shape": [None, image_size, image_size, 3],
            "dtype": "uint8",
            "layout": "NHWC",
            "colours": "RGB",
            "range": [0, 255],
        },
        "decode": "apply EXIF orientation; grey becomes RGB, alpha is dropped, 16 bits become 8",
        "resize": {
            "how": "stretch to the square, without keeping the aspect ratio and without a border",
            "smaller": "average over areas (OpenCV's INTER_AREA) where the image has more pixels than the square",
            "larger": "bilinear, half-pixel centres (OpenCV's INTER_LINEAR) elsewhere",
        },
        "normalise": "nothing: the network does it itself",
        "output": {
            "shape": [None, 5],
            "dtype": "float32",
            "columns": ["x1", "y1", "x2", "y2", "score"],
            "unit": "x relative to the image's width, y to its height; the score is in 0..1",
            "clip": "cut x1, y1, x2 and y2 to 0..1: the network's own box may reach a little over the image's edge",
        },
    }
