"""The networks as they are served, in `build/served/`: `evaluate` writes and scores them, `promote` packages the files.

So what is registered is byte for byte what was scored, and `promote` needs no TensorFlow. Each backbone has a folder
with the network's file and `served.json`: its `form`, `shift_px` (by how much that moved boxes, see
`network_formats.largest_shift`), `model_digest` (which model it was made of) and `sha256` of the file.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from selfie_localizer import files, params
from selfie_localizer.dataset.store import Store
from selfie_localizer.dependencies import code_digest
from selfie_localizer.errors import UserError
from selfie_localizer.network.network_file import FORMS
from selfie_localizer.network.onnx_file import Network
from selfie_localizer.serving import network_formats
from selfie_localizer.state import cache_folder, exclusive

SERVED = Path("build/served")
NOTE = "served.json"
# What a conversion depends on beside the project's code.
_CONVERTERS = ("tensorflow", "keras", "keras-hub", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert")


@dataclass(frozen=True)
class ServedNetwork:
    """One network.

    Attributes:
        folder: Where its file is.
        form: Of the file, a key of `network_file.FORMS`.
        shift_px: By how many pixels of the network's image its boxes lie from those of the float32 network.
        model_digest: Names the model that it was made of.
        sha256: Of the file.
    """

    folder: Path
    form: str
    shift_px: float
    model_digest: str
    sha256: str

    @property
    def path(self) -> Path:
        """The network's file."""
        return self.folder / FORMS[self.form].name

    def load(self) -> Network:
        """Loads the network; see `network_file.NetworkFile`."""
        return FORMS[self.form].load(self.path)


def write_all(digests: Mapping[str, str], serving: params.Serving, fit: Store, root: Path) -> dict[str, ServedNetwork]:
    """Writes `build/served/`, whole or not at all: a network for each backbone, in the form that `serving` names.

    What was made of the same model before, in the same way, is taken over from the project's cache; only what was not
    needs TensorFlow.

    Args:
        digests: The `model_digest` of each backbone.
        serving: The form, and how far a box may move.
        fit: The store whose validation photos show how far boxes move.
        root: The project's folder.

    Returns:
        The networks by their backbone.

    Raises:
        UserError: A model is missing or damaged, or boxes move by more than `serving.max_shift_px`.
    """
    wanted = serving.model_dump(include={"form", "max_shift_px"})
    way = wanted, fit.digest, code_digest(__name__), [_version(package) for package in _CONVERTERS]
    cache = cache_folder(root) / "served"
    cache.mkdir(parents=True, exist_ok=True)
    with (
        exclusive(cache / "lock", "evaluate: another process is converting models here; waiting for it to end"),
        files.atomic_write(root / SERVED) as holder,
    ):
        holder.mkdir()
        for backbone, digest in digests.items():
            model = root / "models" / backbone / "model.keras"
            if not model.exists():
                raise UserError(f"{model}: missing; run `dvc repro train@{backbone}` first")
            kept = cache / backbone / files.digest(digest, *way)[:32]
            if _read(kept, digest) is None:
                _convert(model, digest, serving, fit, kept)
            shutil.copytree(kept, holder / backbone)
    return {backbone: read(backbone, digest, root) for backbone, digest in digests.items()}


def _convert(model: Path, digest: str, serving: params.Serving, fit: Store, kept: Path) -> None:
    """Writes a network into the cache, in the place of any other of the same backbone."""
    from selfie_localizer.network import inference

    photos = network_formats.validation_photos(fit)
    with tempfile.TemporaryDirectory(prefix="selfie-localizer-") as work:
        chosen, path, shift = network_formats.choose_form(
            inference.load(model), serving, photos, fit.size, Path(work), model
        )
        shutil.rmtree(kept.parent, ignore_errors=True)
        with files.atomic_write(kept) as folder:
            folder.mkdir()
            # Not all of the working folder: of `auto` it may also hold the form that moved boxes too far.
            shutil.copy(path, folder)
            note = {"form": chosen.form, "shift_px": round(shift, 3), "model_digest": digest}
            files.write_json(folder / NOTE, note | {"sha256": files.sha256(path.read_bytes())})


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def read(backbone: str, model_digest: str, root: Path) -> ServedNetwork:
    """Returns what `write_all` wrote of a backbone.

    Raises:
        UserError: It is missing, damaged, or was made of another model.
    """
    folder = root / SERVED / backbone
    found = _read(folder, model_digest)
    if found is None:
        raise UserError(f"{folder}: missing, damaged, or of another model; run `dvc repro evaluate` first")
    return found


def _read(folder: Path, model_digest: str) -> ServedNetwork | None:
    """Returns the network in a folder, or None where it is not whole or of another model."""
    try:
        note: dict[str, Any] = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        found = ServedNetwork(folder, **note)
        whole = found.model_digest == model_digest and files.sha256(found.path.read_bytes()) == found.sha256
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if whole else None
