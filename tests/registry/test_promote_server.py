"""The same against a real `mlflow server`, which other machines may use too."""

from pathlib import Path
from typing import Any

import mlflow
import pytest

from selfie_localizer.errors import UserError
from selfie_localizer.registry import promote as promotion
from selfie_localizer.registry import status
from selfie_localizer.registry.promote import promote
from selfie_localizer.registry.rollback import rollback
from selfie_localizer.registry.versions import NAME
from tests.conftest import Server
from tests.registry import blobs
from tests.registry.test_promote import BETTER, get_alias, get_tags, get_versions, try_model


def test_promotions_and_rollbacks_on_a_server(
    blank: Path, mlflow_server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (blank / "mlflow.db").unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    assert try_model(blank, dark=0.9, normal=0.8)["decision"] == "champion"
    assert try_model(blank, dark=0.85, normal=0.75)["decision"] == "rejected"

    # Another machine promotes version 2 while this one judges its own candidate.
    client, pass_gates, calls = mlflow.MlflowClient(mlflow_server.uri), promotion._pass_gates, []

    def overtaken(*arguments: Any) -> Any:
        verdict = pass_gates(*arguments)
        if not calls:
            client.set_registered_model_alias(NAME, "champion", "2")
        calls.append(verdict)
        return verdict

    with monkeypatch.context() as patch:
        patch.setattr(promotion, "_pass_gates", overtaken)
        report = try_model(blank, **BETTER)
    assert "another promotion made version 2 the champion meanwhile" in capsys.readouterr().err
    assert [verdict["champion"] for verdict in calls] == ["1", "2"]
    assert (report["decision"], report["champion"], report["previous_champions"]) == ("champion", "3", ["2"])

    promote(blobs.make_settings(), blank)
    assert get_versions(blank) == ["1", "2", "3"]
    assert status.collect(blank)["champion"]["version"] == "3"
    rollback(root=blank)
    assert get_alias(blank) == "2"
    assert "rolled_back" in get_tags(blank, "3")
    assert not (blank / "mlflow.db").exists()
    assert not (blank / "mlruns").exists()

    mlflow_server.stop()
    with pytest.raises(UserError, match=f"{mlflow_server.uri} cannot be used"):
        promote(blobs.make_settings(), blank)
    with pytest.raises(UserError, match=f"{mlflow_server.uri} cannot be used"):
        rollback(root=blank)
