"""Starter weights: a localizer that learned from renders alone, in 8 bits, in `starter/<architecture>.npz`.

A file holds one backbone and heads of several widths that were trained on it, each with a score of its own. The
backbone's variables have their own names, e.g. `conv1_conv/kernel`, a head's a prefix, e.g. `head/128/`; in files
without a format number the one head has none.

Kernels are whole numbers in -127..127 with a scale for each output channel, which is the last axis of a Keras kernel:
the symmetric form of R. Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018,
section 2.2. Biases, norms and statistics are 16-bit floats, as everything was in files without a format number.
"""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfie_localizer import params
from selfie_localizer.errors import UserError
from selfie_localizer.files import atomic_write, sha256
from selfie_localizer.progress import say

if TYPE_CHECKING:
    import keras

STARTER = Path("starter")
FLOAT16_MAX = float(np.finfo(np.float16).max)
GREATEST = 127
# What the entry `format` of a file says.
FORMAT = 2
# An entry of this name and that of the kernel holds the kernel's scales.
SCALE = "scale/"
HEAD = "head/"
# What the names of all that stands on the backbone begin with.
_OF_HEAD = ("neck_", "vectorizer_", "head_")
# Its first axis is as long as the head is wide, whatever the vectorizer.
_SCORE = "head_score/kernel"

Arrays = dict[str, NDArray[np.float32]]


def path_of(architecture: str) -> Path:
    """Returns the file of an architecture's starter weights."""
    return STARTER / f"{architecture}.npz"


def digest_of(row: params.Backbone) -> str:
    """Returns a digest of the starter weights that a backbone's row asks for; empty where it asks for none."""
    path = path_of(row.architecture)
    return sha256(path.read_bytes()) if row.weights == "starter" and path.exists() else ""


def save(model: "keras.Model", path: Path, others: Iterable["keras.Model"] = ()) -> None:
    """Writes a localizer's weights and statistics; integers are left out.

    Args:
        model: A localizer.
        path: The file.
        others: Localizers on the same backbone with heads of other widths; of these, the heads are written.

    Raises:
        ValueError: A value is too large for 16 bits.
    """
    arrays: dict[str, Any] = {"format": np.array(FORMAT)}
    for one in (model, *others):
        head, backbone = _variables(one)
        if one is model:
            for variable in backbone:
                arrays |= _packed(variable.path, variable.numpy())
        for variable in head:
            arrays |= _packed(f"{HEAD}{_width(one)}/{variable.path}", variable.numpy())
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def _variables(model: "keras.Model") -> tuple[list["keras.Variable"], list["keras.Variable"]]:
    """Returns the variables of a localizer's head, its neck and vectorizer included, and of its backbone."""
    floats = [variable for variable in model.variables if variable.dtype == "float32"]
    head = [variable for variable in floats if variable.path.startswith(_OF_HEAD)]
    return head, [variable for variable in floats if not variable.path.startswith(_OF_HEAD)]


def _width(model: "keras.Model") -> int:
    return next(int(variable.shape[0]) for variable in model.variables if variable.path == _SCORE)


def quantise(kernel: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Returns a kernel in 8 bits, and for each output channel the scale to multiply by.

    Args:
        kernel: Finite numbers, shape (..., channels).

    Returns:
        Whole numbers in -127..127, of the kernel's shape, and scales, shape (channels,). Their product is within half
        a scale of the kernel.
    """
    scale = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)), initial=0) / GREATEST
    whole = np.rint(kernel / np.where(scale > 0, scale, 1))
    return whole.astype(np.int8), scale.astype(np.float32)


def _packed(name: str, values: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Returns a variable's entries in the file."""
    if values.ndim >= 2:
        whole, scale = quantise(values)
        return {name: whole, SCALE + name: scale}
    if np.abs(values).max(initial=0) > FLOAT16_MAX:
        raise ValueError(f"{name} does not fit in 16 bits")
    return {name: values.astype(np.float16)}


def _read(path: Path) -> tuple[Arrays, dict[int, Arrays]]:
    """Returns the backbone in a file, and its heads by their width."""
    with np.load(path, allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    if (number := int(found.pop("format", 1))) > FORMAT:
        raise ValueError(f"it is of format {number}, newer than this version of the project")
    scales = {name: found.pop(name) for name in list(found) if name.startswith(SCALE)}
    backbone: Arrays = {}
    heads: dict[int, Arrays] = {}
    for name, kept in found.items():
        values = kept * scales[SCALE + name] if kept.dtype == np.int8 else kept.astype(np.float32)
        if name.startswith(HEAD):
            _, width, own = name.split("/", 2)
            heads.setdefault(int(width), {})[own] = values
        elif name.startswith(_OF_HEAD):
            heads.setdefault(len(found[_SCORE]), {})[name] = values
        else:
            backbone[name] = values
    return backbone, heads


def load(model: "keras.Model", architecture: str, root: Path = Path("."), path: Path | None = None) -> int:
    """Gives a localizer the starter weights of its architecture, wherever name and shape are the same.

    The head is that of the localizer's own width. Where the file has none that fits as a whole, it keeps its random
    weights, one line says so, and the backbone is taken all the same.

    Args:
        model: A localizer.
        architecture: Of its backbone.
        root: The project's folder.
        path: The file, where it is another than the project's own.

    Returns:
        The number of variables that were set.

    Raises:
        UserError: There are no such weights here, or they are of another network.
    """
    path = path or root / path_of(architecture)
    try:
        stored, heads = _read(path)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no starter weights of {architecture} here; fetch them by `dvc pull -r sample starter.dvc`, "
            "or set weights to none"
        ) from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); fetch it again by `dvc pull -r sample starter.dvc`"
        ) from None
    head, backbone = _variables(model)
    known = [(v, stored[v.path]) for v in backbone if v.path in stored and stored[v.path].shape == tuple(v.shape)]
    if not known:
        raise UserError(f"{path}: holds no weights of this network; fetch it again, or set weights to none")
    arrays = heads.get(_width(model), {})
    if all(v.path in arrays and arrays[v.path].shape == tuple(v.shape) for v in head):
        known += [(v, arrays[v.path]) for v in head]
    else:
        widths = ", ".join(map(str, sorted(heads))) or "none"
        say(
            f"{path}: no head of width {_width(model)} that fits this neck and vectorizer (its widths: {widths}); "
            "the head starts from random weights"
        )
    for variable, values in known:
        variable.assign(values)
    return len(known)
