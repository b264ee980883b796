"""The champion goes back through the approved history, one version at a time."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from selfie_localizer.errors import UserError
from selfie_localizer.registry import status
from selfie_localizer.registry.rollback import rollback
from selfie_localizer.registry.versions import CHAMPION, NAME, Registry, history, number, opened
from selfie_localizer.tracking import mlflow_runs


class Killed(BaseException):
    pass


def get_model_id(registry: Registry) -> str:
    return str(registry.get("1").source).removeprefix("models:/")


@pytest.fixture
def registry(crowned: Path) -> Registry:
    """Champions 1, 2 and 3, approved one after the other; version 4 was rejected."""
    with opened(crowned) as found:
        model_id = get_model_id(found)
        for previous in (["1"], ["1", "2"]):
            found.approve(found.register(model_id, {"backbone": "blob"}), previous)
        found.register(model_id, {"backbone": "blob", "rejected": "worse"})
    return found


def get_champion(registry: Registry) -> str:
    return number(registry.by_alias(CHAMPION))


def test_twice_goes_one_further_back_and_then_there_is_none(registry: Registry, crowned: Path) -> None:
    rollback(root=crowned)
    assert get_champion(registry) == "2"
    rollback(root=crowned)
    assert get_champion(registry) == "1"
    with pytest.raises(UserError, match="no champion before version 1"):
        rollback(root=crowned)
    assert get_champion(registry) == "1"
    assert [version for version in "123" if "rolled_back" in registry.get(version).tags] == ["2", "3"]


def test_a_champion_after_a_rollback_continues_the_history_from_there(registry: Registry, crowned: Path) -> None:
    rollback(root=crowned)
    fresh = registry.register(get_model_id(registry), {})
    champion = registry.by_alias(CHAMPION)
    registry.approve(fresh, [*history(champion), number(champion)])
    for expected in ("2", "1"):
        rollback(root=crowned)
        assert get_champion(registry) == expected


def test_a_rollback_can_be_undone_and_a_version_named(registry: Registry, crowned: Path) -> None:
    rollback(root=crowned)
    rollback("3", crowned)
    assert get_champion(registry) == "3"
    assert "rolled_back" not in registry.get("3").tags
    rollback("1", crowned)
    assert get_champion(registry) == "1"
    assert history(registry.get("1")) == []
    rollback("4", crowned)
    assert "rejected" not in registry.get("4").tags
    rollback(root=crowned)
    assert get_champion(registry) == "1"


def test_a_deleted_version_is_passed_over(registry: Registry, crowned: Path) -> None:
    registry.client.delete_model_version(NAME, "2")
    rollback(root=crowned)
    assert get_champion(registry) == "1"


def test_an_unknown_version_changes_nothing(registry: Registry, crowned: Path) -> None:
    for unknown in ("9", "best"):
        with pytest.raises(UserError, match=f"there is no version {unknown}"):
            rollback(unknown, crowned)
    assert get_champion(registry) == "3"


@pytest.mark.parametrize("step", range(4))
def test_killed_at_any_step_and_repeated_it_goes_back_once(
    registry: Registry, crowned: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = 0

    def killing(change: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: object) -> None:
            nonlocal done
            change(*arguments)
            done += 1
            if done > step:
                raise Killed

        return run

    with monkeypatch.context() as patch:
        for name in ("set_model_version_tag", "delete_model_version_tag", "set_registered_model_alias"):
            patch.setattr(mlflow.MlflowClient, name, killing(getattr(mlflow.MlflowClient, name)))
        with contextlib.suppress(Killed):
            rollback(root=crowned)
    if get_champion(registry) == "3":
        rollback(root=crowned)
    assert get_champion(registry) == "2"
    assert history(registry.get("2")) == ["1"]
    assert "rolled_back" in registry.get("3").tags


def test_without_a_registry_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for verb in (lambda: rollback(root=tmp_path), lambda: status.collect(tmp_path)):
        with pytest.raises(UserError, match="no model is registered"):
            verb()
    assert not (tmp_path / "mlflow.db").exists()


def test_status_shows_champion_and_challenger_on_the_same_split(registry: Registry, crowned: Path) -> None:
    registry.point("challenger", "4")
    registry.tag(registry.get("4"), test_iou=0.7, test_split=registry.get("1").tags["test_split"], data_hash="d" * 32)
    rollback("1", crowned)
    found = status.collect(crowned)
    assert (found["champion"]["version"], found["challenger"]["version"]) == ("1", "4")
    assert found["champion"]["same_split_iou"] == pytest.approx(0.725, abs=1e-3)
    assert (found["challenger"]["state"], found["challenger"]["reason"]) == ("rejected", "worse")
    shown = status.table(crowned)
    assert "champion" in shown.splitlines()[0]
    assert "the challenger was rejected: worse" in shown
    assert max(map(len, shown.splitlines())) <= 120

    # On another split the champion's score is not known before promote has run.
    registry.tag(registry.get("4"), test_split="other")
    assert status.collect(crowned)["champion"]["same_split_iou"] is None


def test_status_of_an_empty_registry_says_what_to_do(blank: Path) -> None:
    assert "dvc repro" in status.table(blank)
    assert status.collect(blank)["champion"] is None


def test_the_database_may_lie_elsewhere(crowned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.move(crowned / "mlflow.db", tmp_path / "elsewhere.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    assert status.collect(crowned)["champion"]["version"] == "1"
    assert mlflow_runs.tracking_uri(crowned) == status.collect(crowned)["registry"]
