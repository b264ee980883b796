"""What is read of a local registry without MLflow is what MLflow says of it."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from selfie_localizer.tracking.local_registry import UnfamiliarError, find

NAME = "faces"


@pytest.fixture
def uri(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registry with two versions of `faces`, in a folder whose name needs quoting; `best` is the first."""
    for variable in ("MLFLOW_REGISTRY_URI", "MLFLOW_ENABLE_WORKSPACES"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "my selfies #1"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    address = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(address)
    client.create_registered_model(NAME)
    for number in (1, 2):
        files = folder / f"version {number}"
        files.mkdir()
        client.create_model_version(NAME, files.as_uri(), tags={"score_threshold": f"0.{number}"})
    client.set_registered_model_alias(NAME, "best", "1")
    return address


def assert_as_mlflow(uri: str, name: str) -> None:
    """Compares number, files and tags with MLflow's."""
    client, model = MlflowClient(uri), name.removeprefix("models:/")
    if "@" in model:
        expected = client.get_model_version_by_alias(*model.split("@"))
    else:
        expected = client.get_model_version(*model.split("/"))
    found = find(uri, name)
    assert found is not None
    assert (found.number, found.tags) == (str(expected.version), expected.tags)
    assert found.files.as_uri() == client.get_model_version_download_uri(expected.name, expected.version)


@pytest.mark.parametrize("name", [f"models:/{NAME}/1", f"models:/{NAME}/2", f"models:/{NAME}@best"])
def test_versions_are_those_that_mlflow_knows(uri: str, name: str) -> None:
    assert_as_mlflow(uri, name)


def test_an_alias_that_moves_is_seen_at_once(uri: str) -> None:
    client = MlflowClient(uri)
    for number in ("2", "1"):
        client.set_registered_model_alias(NAME, "best", number)
        assert_as_mlflow(uri, f"models:/{NAME}@best")
    client.delete_registered_model_alias(NAME, "best")
    assert find(uri, f"models:/{NAME}@best") is None


def test_a_version_that_was_deleted_or_never_was_is_none(uri: str) -> None:
    MlflowClient(uri).delete_model_version(NAME, "1")
    for name in (f"{NAME}/1", f"{NAME}@best", f"{NAME}/7", f"{NAME}@nobody", "nobody/1", "nobody@best"):
        assert find(uri, f"models:/{name}") is None


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert find(f"sqlite:///{tmp_path}/mlflow.db", f"models:/{NAME}/1") is None
    assert list(tmp_path.iterdir()) == []


def rename(column: str) -> Callable[[sqlite3.Connection], Any]:
    return lambda connection: connection.execute(f"ALTER TABLE model_versions RENAME COLUMN {column} TO other")


def keep_elsewhere(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE model_versions SET storage_location = 's3://bucket/model'")


@pytest.mark.parametrize(
    "change",
    [
        rename("workspace"),
        rename("storage_location"),
        lambda connection: connection.execute("DROP TABLE registered_model_aliases"),
        keep_elsewhere,
    ],
)
def test_a_registry_of_another_form_is_left_to_mlflow(uri: str, change: Callable[[sqlite3.Connection], Any]) -> None:
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as connection:
        change(connection)
    with pytest.raises(UnfamiliarError):
        find(uri, f"models:/{NAME}@best")


@pytest.mark.parametrize("name", ["runs:/1", f"models:/{NAME}@latest", f"models:/{NAME}/latest", f"models:/{NAME}/1/a"])
def test_names_of_other_kinds_are_left_to_mlflow(uri: str, name: str) -> None:
    with pytest.raises(UnfamiliarError):
        find(uri, name)


def test_a_server_or_another_registry_is_left_to_mlflow(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnfamiliarError):
        find("http://127.0.0.1:5000", f"models:/{NAME}@best")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:5000")
    with pytest.raises(UnfamiliarError):
        find(uri, f"models:/{NAME}@best")


def test_what_is_no_database_is_left_to_mlflow(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database, and long enough to look like the beginning of one" * 10)
    with pytest.raises(UnfamiliarError):
        find(f"sqlite:///{tmp_path}/mlflow.db", f"models:/{NAME}/1")


def test_mlflow_is_not_imported(uri: str, run_python: Callable[..., Any]) -> None:
    script = "import sys; from selfie_localizer.tracking.local_registry import find; "
    script += "print(find(*sys.argv[1:]).number, 'mlflow' in sys.modules)"
    assert run_python(script, uri, f"models:/{NAME}@best").stdout.split() == ["1", "False"]
