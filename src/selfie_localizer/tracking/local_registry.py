"""Versions of a registry in a local SQLite file, read without MLflow, whose import takes longer than an answer does.

Read-only, and only what MLflow's own store would say of the same rows; the look-up takes a millisecond, so that nothing
is kept and an alias that was moved a moment ago is seen. Wherever something is not as expected, MLflow is to be asked.
"""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

# With these MLflow looks for versions elsewhere.
_ELSEWHERE = ("MLFLOW_REGISTRY_URI", "MLFLOW_ENABLE_WORKSPACES")
_VERSION = """
    SELECT version, coalesce(nullif(storage_location, ''), source) FROM model_versions
    WHERE workspace = 'default' AND name = ? AND version = ? AND current_stage != 'Deleted_Internal'
"""
_ALIAS = "SELECT version FROM registered_model_aliases WHERE workspace = 'default' AND name = ? AND alias = ?"
_TAGS = "SELECT key, value FROM model_version_tags WHERE workspace = 'default' AND name = ? AND version = ?"


class UnfamiliarError(Exception):
    """The registry is no SQLite file, has another form than is known here, or is busy: only MLflow can tell."""


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        number: Of the version.
        files: The folder of its files, which may be gone.
        tags: Of the version.
    """

    number: str
    files: Path
    tags: dict[str, str]


def database(uri: str) -> Path | None:
    """Returns the file of a SQLite store, or None for a server."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def find(uri: str, name: str) -> Version | None:
    """Returns a version, or None where there is none of this name.

    Args:
        uri: The tracking store.
        name: `models:/NAME/NUMBER` or `models:/NAME@ALIAS`.

    Raises:
        UnfamiliarError: Only MLflow can tell.
    """
    path = database(uri)
    if path is None or any(os.environ.get(variable) for variable in _ELSEWHERE):
        raise UnfamiliarError
    model, alias, number = _parse(name)
    if not path.exists():
        return None
    try:
        # Opened like this SQLite neither makes the file nor changes it.
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            # One transaction: a promotion meanwhile is seen as a whole or not at all.
            connection.execute("BEGIN")
            if alias:
                pointed = connection.execute(_ALIAS, (model, alias)).fetchone()
                number = pointed[0] if pointed else None
            row = connection.execute(_VERSION, (model, number)).fetchone()
            tags = dict(connection.execute(_TAGS, (model, number)))
    except sqlite3.Error as error:
        raise UnfamiliarError from error
    return Version(str(row[0]), _folder(row[1]), tags) if row else None


def _parse(name: str) -> tuple[str, str, int | None]:
    """Returns model, alias and number; one of the latter two is missing."""
    kind, _, model = name.partition(":/")
    if kind != "models":
        raise UnfamiliarError
    if model.count("/") == 1 and model.split("/")[1].isdecimal():
        return model.split("/")[0], "", int(model.split("/")[1])
    if "/" not in model and "@" in model:
        model, alias = model.rsplit("@", 1)
        # MLflow's word for the newest version, whatever aliases there are.
        if alias.lower() != "latest":
            return model, alias, None
    raise UnfamiliarError


def _folder(location: str | None) -> Path:
    place = urlsplit(location or "")
    if place.scheme == "file" and place.netloc in ("", "localhost"):
        return Path(unquote(place.path))
    if location and location.startswith("/"):
        return Path(location)
    raise UnfamiliarError
