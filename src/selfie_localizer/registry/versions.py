"""The registered model `selfie-localizer`: its versions, their tags and its two aliases.

`challenger` is the newest candidate, `champion` the version that answers requests. What promote and rollback know of
the past is kept in tags of the versions, so that it is wherever the registry is:

- `backbone`, `form` and `second_look`: what is served; without the latter two it is of before there was a choice:
  float32 as ONNX, one look;
- `test_iou` where truth judged it, `test_iou_labels` where labels did; `judge` (`truth` or `labels`) and `judge_images`
  (how many);
- `hashes`, as JSON, since people read past them: `model_digest` of the weights, `data_hash`, `git_commit` and
  `params_hash` of what it was made of, and `test_split` of the judged images and their judging boxes. A version of
  before has each as a tag of its own; who gets a version from here finds them among its tags in either case;
- `score_threshold`: the least score that evaluate recommends;
- `verdict`: the gates and what they said, as JSON;
- `approved`, or `rejected` with the reason;
- `history`: the champions before this one, oldest first, e.g. `1,4,5`;
- `rolled_back`: a person took it back; promote leaves it alone.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout

from selfie_localizer import files
from selfie_localizer.errors import UserError
from selfie_localizer.network.network_file import FIRST_FORM
from selfie_localizer.progress import say
from selfie_localizer.tracking import local_registry, mlflow_runs
from selfie_localizer.tracking.resilient_run import mlflow_at

NAME = "selfie-localizer"
CHAMPION, CHALLENGER = "champion", "challenger"
HASHES = "hashes"
_HASHES = ("model_digest", "data_hash", "git_commit", "params_hash", "test_split")
# What a version without these tags is.
_FIRST = {"form": FIRST_FORM, "second_look": "false"}
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class Registry:
    """Reads and changes the registered model. A `version` is MLflow's `ModelVersion`.

    Args:
        uri: The tracking store, which holds the registry too.
    """

    def __init__(self, uri: str) -> None:
        import mlflow

        mlflow_runs.quiet()
        self.uri = uri
        self.client = mlflow.MlflowClient(uri)

    def by_alias(self, alias: str) -> Any | None:
        """Returns the version that an alias points to, or None."""
        return self._known(lambda: self.client.get_model_version_by_alias(NAME, alias))

    def get(self, wanted: str) -> Any | None:
        """Returns the version of this number, or None."""
        return self._known(lambda: self.client.get_model_version(NAME, wanted))

    def find(self, identity: dict[str, str]) -> Any | None:
        """Returns the version of a model, see `Candidate.identity`; one whose files are gone does not count."""
        found = map(_unpacked, self.client.search_model_versions(f"name = '{NAME}'"))
        for version in sorted(found, key=lambda version: int(version.version)):
            tags = _FIRST | version.tags
            if tags == tags | identity and has_files(self.client.get_model_version_download_uri(NAME, version.version)):
                return version
        return None

    def register(self, model_id: str, tags: Mapping[str, Any]) -> Any:
        """Makes a logged model the next version; it has its tags (None is no tag) from its first moment."""
        import mlflow

        # MLflow prints what promote says better.
        with mlflow_at(self.uri), redirect_stderr(StringIO()):
            made = mlflow.register_model(f"models:/{model_id}", NAME, tags=_packed(tags))
        return _unpacked(self.client.get_model_version(NAME, made.version))

    def point(self, alias: str, to: str) -> None:
        """Points an alias to a version, where it does not yet."""
        now = self.by_alias(alias)
        if now is None or number(now) != to:
            self.client.set_registered_model_alias(NAME, alias, to)

    def tag(self, version: Any, **tags: Any) -> None:
        """Sets those tags of a version that differ; None removes one."""
        before = _packed(version.tags)
        version.tags.update({key: str(value) for key, value in tags.items() if value is not None})
        for key in [key for key, value in tags.items() if value is None]:
            version.tags.pop(key, None)
        after = _packed(version.tags)
        for key in before.keys() - after.keys():
            self.client.delete_model_version_tag(NAME, version.version, key)
        for key in [key for key in after if after[key] != before.get(key)]:
            self.client.set_model_version_tag(NAME, version.version, key, after[key])

    def describe(self, version: Any, text: str) -> None:
        """Sets what a person reads of a version, where it differs."""
        if version.description != text:
            self.client.update_model_version(NAME, version.version, text)

    def approve(self, version: Any, previous: list[str]) -> None:
        """Makes a version the champion after `previous`.

        The alias moves last and at once: a kill before leaves the old champion, and repeating ends the same.
        """
        self.tag(version, history=",".join(previous), approved="true", rejected=None, rolled_back=None)
        self.point(CHAMPION, number(version))

    def _known(self, ask: Any) -> Any | None:
        from mlflow.exceptions import MlflowException

        try:
            return _unpacked(ask())
        except MlflowException as error:
            if error.error_code in _UNKNOWN:
                return None
            raise


def _packed(tags: Mapping[str, Any]) -> dict[str, str]:
    """Returns tags as the registry has them: the hashes in one; None is no tag."""
    given = {key: str(value) for key, value in tags.items() if value is not None}
    hashes = {key: given.pop(key) for key in _HASHES if key in given}
    return given | ({HASHES: json.dumps(hashes)} if hashes else {})


def _unpacked(version: Any) -> Any:
    """Gives a version each hash as a tag again, also where the registry has them as such."""
    version.tags.update(json.loads(version.tags.pop(HASHES, "{}")))
    return version


def number(version: Any) -> str:
    """Returns a version's number as text; a database gives it as an integer, a server as text."""
    return str(version.version)


def has_files(location: str) -> bool:
    """Tells whether a model kept on this machine still lies there; of one kept elsewhere it is believed."""
    place = urlsplit(location)
    return place.scheme != "file" or (Path(unquote(place.path)) / "MLmodel").exists()


def history(version: Any) -> list[str]:
    """Returns the numbers of the champions before a version, oldest first."""
    return [number for number in version.tags.get("history", "").split(",") if number]


def has_champion(root: Path) -> bool:
    """Tells whether there is a champion; of a local registry without importing MLflow.

    Raises:
        UserError: The registry does not answer or refuses.
    """
    with suppress(local_registry.UnfamiliarError):
        return local_registry.find(mlflow_runs.tracking_uri(root), f"models:/{NAME}@{CHAMPION}") is not None
    with opened(root) as registry:
        return registry.by_alias(CHAMPION) is not None


@contextmanager
def opened(root: Path, create: bool = False) -> Iterator[Registry]:
    """Gives the registry and turns what goes wrong with it into one line.

    Args:
        root: The project's folder.
        create: Whether a database that is missing is made.

    Raises:
        UserError: It is not there, does not answer or refuses.
    """
    uri = mlflow_runs.tracking_uri(root)
    database = local_registry.database(uri)
    if database is not None and not database.exists() and not create:
        raise UserError(f"no model is registered: there is no {database} yet; run `dvc repro` first")
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield Registry(uri)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(
            f"MLflow at {uri} cannot be used ({line}); start its server or set MLFLOW_TRACKING_URI, and run this again"
        ) from None


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Lets one process of this machine at a time change the registry; the others wait for it.

    The system frees the lock when its process ends, however it ends. It lies beside the database, or, for a server,
    where every project of this user finds it.
    """
    uri = mlflow_runs.tracking_uri(root)
    database = local_registry.database(uri)
    if database is not None:
        path = database.parent / ".state/registry.lock"
    else:
        path = Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}-{files.digest(uri)[:16]}.lock"
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        say("another process is changing the registry; waiting for it to end")
        lock.acquire()
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}), so MLflow at {uri} cannot be used") from None
    try:
        yield
    finally:
        lock.release()
