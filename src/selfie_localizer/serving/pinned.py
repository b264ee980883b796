"""A version of the registry by its number: its network and what it was trained on, kept in the project's cache."""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from selfie_localizer import files
from selfie_localizer.dataset.store import TRAINED_ON
from selfie_localizer.errors import UserError
from selfie_localizer.network.network_file import FIRST_FORM, FORMS
from selfie_localizer.serving import find_model, mlflow_model
from selfie_localizer.state import cache_folder
from selfie_localizer.tracking import mlflow_runs


@dataclass(frozen=True)
class Pinned:
    """A registered version.

    Attributes:
        network: Its network's file.
        form: What kind of file that is, see `network_file.FORMS`.
        second_look: Whether it is asked again about a crop around its first answer.
        image_size: Side of its square images in pixels.
        digest: Names the network: equal digests mean equal answers, whatever the version is called.
        trained_on: SHA-256, in hex, of the images in its train split; None where the version does not tell.
    """

    network: Path
    form: str
    second_look: bool
    image_size: int
    digest: str
    trained_on: frozenset[str] | None


def version(name: str, root: Path = Path(".")) -> Pinned:
    """Returns a version of the registry, which is asked each time what the number stands for.

    Its files are copied into the project's cache when they are first needed.

    Args:
        name: `models:/NAME/NUMBER`.
        root: The project's folder.

    Raises:
        UserError: There is no such version, its files are gone or damaged, or the registry does not answer.
    """
    folder = cache_folder(root) / f"version-{files.digest(name)[:8]}-{_identity(name, root)[:16]}"
    if not folder.exists():
        for other in folder.parent.glob(f"version-{files.digest(name)[:8]}-*"):
            shutil.rmtree(other)
        with find_model.folder(name, root) as found, files.atomic_write(folder) as temporary:
            # MLflow gives an empty folder where a local one is gone.
            if not (found / "artifacts").is_dir():
                raise UserError(f"{name}: its files are gone, or are not those of a served model")
            shutil.copytree(found / "artifacts", temporary)
    try:
        meta = json.loads((folder / mlflow_model.META).read_text(encoding="utf-8"))
        form, looks_again = str(meta.get("form", FIRST_FORM)), bool(meta.get("second_look", False))
        network, size = folder / FORMS[form].name, int(meta["image_size"])
        digest = files.digest(network.read_bytes(), size, looks_again)
        listed = folder / TRAINED_ON
        trained_on = frozenset(listed.read_text().split()) if listed.exists() else None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{name}: not a served model of this project ({find_model.first_line(error)})") from None
    return Pinned(network, form, looks_again, size, digest, trained_on)


def _identity(name: str, root: Path) -> str:
    """Returns a digest of what the registry says that a number stands for."""
    uri = mlflow_runs.tracking_uri(root)
    missing = f"{name}: no such version in {uri}"
    # MLflow would make an empty database.
    if uri.startswith("sqlite:///") and not os.path.exists(uri.removeprefix("sqlite:///")):
        raise UserError(missing)
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow_runs.quiet()
    *_, model, number = re.split("[:/]+", name)
    try:
        found = mlflow.MlflowClient(uri).get_model_version(model, number)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UserError(missing) from None
        raise UserError(f"{name}: MLflow at {uri} does not answer ({find_model.first_line(error)})") from None
    return files.digest(uri, found.source, found.creation_timestamp)
