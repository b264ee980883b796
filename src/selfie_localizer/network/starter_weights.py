"""Starter weights: a localizer that learned from renders alone, as 16-bit floats in `starter/<architecture>.npz`."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selfie_localizer import params
from selfie_localizer.errors import UserError
from selfie_localizer.files import atomic_write, sha256

if TYPE_CHECKING:
    import keras

STARTER = Path("starter")
FLOAT16_MAX = float(np.finfo(np.float16).max)


def path_of(architecture: str) -> Path:
    """Returns the file of an architecture's starter weights."""
    return STARTER / f"{architecture}.npz"


def digest_of(row: params.Backbone) -> str:
    """Returns a digest of the starter weights that a backbone's row asks for; empty where it asks for none."""
    path = path_of(row.architecture)
    return sha256(path.read_bytes()) if row.weights == "starter" and path.exists() else ""


def save(model: "keras.Model", path: Path) -> None:
    """Writes a localizer's weights and statistics by name, float16; integers are left out.

    Raises:
        ValueError: A value is too large for 16 bits.
    """
    arrays = {}
    for variable in model.variables:
        if variable.dtype == "float32":
            values = variable.numpy()
            if np.abs(values).max(initial=0) > FLOAT16_MAX:
                raise ValueError(f"{variable.path} does not fit in 16 bits")
            arrays[variable.path] = values.astype(np.float16)
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def load(model: "keras.Model", architecture: str, root: Path = Path(".")) -> int:
    """Gives a localizer the starter weights of its architecture, wherever name and shape are the same.

    A head of another width keeps its random weights, and the backbone is taken all the same.

    Args:
        model: A localizer.
        architecture: Of its backbone.
        root: The project's folder.

    Returns:
        The number of variables that were set.

    Raises:
        UserError: There are no such weights here, or they are of another network.
    """
    path = root / path_of(architecture)
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except FileNotFoundError:
        raise UserError(
            f"{path}: no starter weights of {architecture} here; fetch them by `dvc pull -r sample starter.dvc`, "
            "or set weights to none"
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); fetch it again by `dvc pull -r sample starter.dvc`"
        ) from None
    known = [v for v in model.variables if v.path in arrays and tuple(v.shape) == arrays[v.path].shape]
    if not known:
        raise UserError(f"{path}: holds no weights of this network; fetch it again, or set weights to none")
    for variable in known:
        variable.assign(arrays[variable.path].astype(np.float32))
    return len(known)
