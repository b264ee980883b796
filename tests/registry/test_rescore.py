"""A registered version answers in a process of its own, by its own code."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from selfie_localizer.errors import UserError
from selfie_localizer.registry import rescore
from selfie_localizer.registry.versions import NAME, Registry, number, opened


@pytest.fixture
def changed(crowned: Path, tmp_path: Path) -> Callable[[str], tuple[Registry, str]]:
    """Registers the champion once more, with a line of code at the end of the code logged beside it."""

    def register(line: str) -> tuple[Registry, str]:
        with opened(crowned) as registry:
            mlflow.set_tracking_uri(registry.uri)
            folder = mlflow.artifacts.download_artifacts(f"models:/{NAME}/1", dst_path=str(tmp_path / "model"))
            code = Path(folder) / "code/selfie_localizer/serving/locator.py"
            code.write_text(f"{code.read_text()}\n{line}\n")
            made = registry.client.create_model_version(NAME, folder, tags={"model_digest": line})
        return registry, number(made)

    return register


def test_the_code_logged_beside_a_model_answers_and_not_the_installed_one(
    changed: Callable[[str], tuple[Registry, str]], crowned: Path
) -> None:
    registry, version = changed("raise RuntimeError('a defect of old')")
    with pytest.raises(rescore.CannotAnswerError, match="a defect of old"):
        rescore.answers(registry, version, [crowned / "data/images/0.png"], "test")


def test_a_process_killed_from_outside_says_nothing_of_the_model(
    changed: Callable[[str], tuple[Registry, str]], crowned: Path
) -> None:
    registry, version = changed("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(UserError, match=r"status -9 before it had answered.*the champion is as it was"):
        rescore.answers(registry, version, [crowned / "data/images/0.png"], "test")
