"""Promotion repeated: after nothing changed, after a kill, after the database was lost, beside another one."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import psutil
import pytest

from selfie_localizer.errors import UserError
from selfie_localizer.registry import status
from selfie_localizer.registry.promote import promote
from selfie_localizer.registry.versions import locked
from selfie_localizer.tracking import mlflow_runs
from tests.registry import blobs
from tests.registry.test_promote import BETTER, get_alias, get_client, get_tags, get_versions, try_model


class Killed(BaseException):
    """What a test raises in place of the end of the process."""


def test_where_nothing_changed_the_second_promotion_changes_nothing_and_reports_the_same(crowned: Path) -> None:
    try_model(crowned, **BETTER)
    before = (crowned / "reports/promotion.json").read_bytes()
    told = status.collect(crowned)
    changed = get_client(crowned).get_model_version("selfie-localizer", "2").last_updated_timestamp
    (crowned / "reports/promotion.json").unlink()
    promote(blobs.make_settings(), crowned)
    assert (crowned / "reports/promotion.json").read_bytes() == before
    assert status.collect(crowned) == told
    assert get_versions(crowned) == ["1", "2"]
    assert get_client(crowned).get_model_version("selfie-localizer", "2").last_updated_timestamp == changed


@pytest.mark.parametrize("rejected", [False, True], ids=["champion", "rejected"])
def test_where_the_registry_is_right_it_ends_without_what_takes_seconds_to_import(
    crowned: Path, rejected: bool, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    if rejected:
        try_model(crowned, dark=0.85, normal=0.75)
    script = (
        "import os, sys; os.chdir(sys.argv[1]); from selfie_localizer.cli import main; main(['promote'])\n"
        "heavy = {'tensorflow', 'keras', 'keras_hub', 'onnxruntime', 'matplotlib', 'great_expectations'}\n"
        "print(*heavy & set(sys.modules))"
    )
    done = run_python(script, str(crowned))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
    assert blobs.read_report(crowned)["decision"] == ("rejected" if rejected else "champion")


STEPS = {
    "create_run": "the run was made",
    "finalize_logged_model": "the model was logged",
    "_create_model_version": "the version was registered",
    "set_registered_model_alias 1": "challenger was set",
    "set_model_version_tag 1": "the verdict was kept",
    "set_model_version_tag 2": "the history was kept",
    "set_model_version_tag 3": "the version was approved",
    "set_registered_model_alias 2": "champion was set",
}


@pytest.mark.parametrize("step", STEPS, ids=STEPS.values())
def test_killed_after_any_step_and_repeated_it_ends_as_if_it_had_run_through(
    crowned: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, nth = step.partition(" ")
    change = getattr(mlflow.MlflowClient, name)
    done = 0

    def killing(*arguments: object, **named: object) -> object:
        nonlocal done
        result = change(*arguments, **named)
        done += 1
        if done == int(nth or 1):
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, name, killing)
        with pytest.raises(Killed):
            try_model(crowned, **BETTER)
    assert get_alias(crowned) == ("2" if step == "set_registered_model_alias 2" else "1")

    promote(blobs.make_settings(), crowned)
    report = blobs.read_report(crowned)
    assert (report["decision"], report["champion"], report["previous_champions"]) == ("champion", "2", ["1"])
    assert get_versions(crowned) == ["1", "2"]
    assert get_alias(crowned) == get_alias(crowned, "challenger") == "2"
    assert get_tags(crowned, "2")["approved"] == "true"
    digest = report["model_digest"]
    experiment = get_client(crowned).get_experiment_by_name(mlflow_runs.EXPERIMENT)
    assert len(get_client(crowned).search_runs([experiment.experiment_id], f"tags.model_digest = '{digest}'")) == 1


def test_killed_outright_while_the_champion_is_scored_it_leaves_no_lock_and_the_next_one_ends_well(
    crowned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # Only registers it, which takes the process below much longer.
        patch.setenv("DVC_EXP_NAME", "fishy-bats")
        try_model(crowned, **BETTER)
    command = [sys.executable, "-m", "selfie_localizer", "promote"]
    with subprocess.Popen(command, cwd=crowned, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 100
        scoring: list[psutil.Process] = []
        while not scoring and time.monotonic() < deadline:
            time.sleep(0.1)
            found = psutil.Process(process.pid).children(recursive=True)
            scoring = [child for child in found if any(part.endswith("answer_script.py") for part in child.cmdline())]
        process.send_signal(signal.SIGKILL)
    for child in scoring:
        child.kill()
    assert scoring
    assert get_alias(crowned) == "1"
    promote(blobs.make_settings(), crowned)
    assert get_alias(crowned) == "2"
    assert get_versions(crowned) == ["1", "2"]


def test_with_the_database_deleted_the_same_model_is_champion_again(crowned: Path) -> None:
    (crowned / "mlflow.db").unlink()
    promote(blobs.make_settings(), crowned)
    report = blobs.read_report(crowned)
    assert (report["decision"], report["champion"], report["previous_champions"]) == ("champion", "1", [])
    assert get_alias(crowned) == "1"
    version = get_client(crowned).get_model_version("selfie-localizer", "1")
    assert get_client(crowned).get_run(version.run_id).data.tags["stage"] == "promote"


def test_two_promotions_at_once_end_with_the_better_one_and_both_recorded(
    blank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    models = [{"dark": 0.9, "normal": 0.8}, BETTER]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{blank}/mlflow.db")
    for root, model in zip(roots, models, strict=True):
        blobs.make_project(root)
        blobs.make_model(root, **model)
        blobs.evaluate(root)
    threads = [threading.Thread(target=promote, args=(blobs.make_settings(), root)) for root in roots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert get_versions(blank) == ["1", "2"]
    scores = {version: float(get_tags(blank, version)["test_iou"]) for version in ("1", "2")}
    best = max(scores, key=lambda version: scores[version])
    assert get_alias(blank) == best
    assert [len({"approved", "rejected"} & set(get_tags(blank, version))) for version in ("1", "2")] == [1, 1]
    decisions = [blobs.read_report(root)["decision"] for root in roots]
    assert decisions[1] == "champion"


def test_a_second_process_waits_for_the_first_and_goes_on_when_that_is_killed(
    crowned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (
        "import sys, time; from pathlib import Path; from selfie_localizer.registry.versions import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(300)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(crowned)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    ended: list[float] = []

    def wait() -> None:
        with locked(crowned):
            ended.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.5)
    assert not ended
    killed = time.monotonic()
    holder.kill()
    holder.wait()
    thread.join(timeout=300)
    assert ended
    assert ended[0] > killed
    assert "another process is changing the registry" in capsys.readouterr().err


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:1", "sqlite:////proc/none/mlflow.db"], ids=["no server", "no database"]
)
def test_a_registry_that_does_not_answer_is_one_line(crowned: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError) as caught:
        promote(blobs.make_settings(), crowned)
    assert uri in str(caught.value)
    assert "\n" not in str(caught.value)
