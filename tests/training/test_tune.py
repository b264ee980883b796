"""The tune stage in a folder of its own: what it searches, chooses, logs, and how it goes on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import mlflow
import numpy as np
import optuna
import pytest
from numpy.typing import NDArray

from selfie_localizer import params
from selfie_localizer.errors import UserError
from selfie_localizer.tracking import mlflow_runs
from selfie_localizer.training import fit as fitting
from selfie_localizer.training import loop, pictures
from selfie_localizer.training.tune import tune, tuned
from tests.registry.champion import forget_environment
from tests.training.conftest import make_settings, make_store

SPACE = {
    "train.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
    "network.head_width": {"choices": (8, 16, 24)},
}
Values = dict[str, Any]


class KilledError(BaseException):
    """Ends a search in the middle, as a kill would."""


def make_search(trials: int, **others: Any) -> params.Params:
    search = params.Tune.model_validate({"trials": trials, "epochs": 1, "space": SPACE, **others})
    return make_settings().model_copy(update={"tune": search})


@pytest.fixture
def make_root(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes projects in which nothing but the store is there."""
    forget_environment(monkeypatch)

    def make(name: str) -> Path:
        root = tmp_path / name
        make_store(root / "build/store/fit", train=32, validation=8, test=2)
        shutil.copy(empty_database, root / "mlflow.db")
        return root

    return make


@pytest.fixture
def root(make_root: Callable[[str], Path]) -> Path:
    return make_root("project")


class Formula:
    """Judges values by a formula in place of a training, for what is about the search alone.

    Attributes:
        tried: The values of each call, the interrupted ones included.
        warmups: Epochs of warm-up of each call.
        on_call: Is called with the number of the call, from 0, when its last epoch is over.
        noise: Standard deviation of an image's IoU about the mean.
    """

    def __init__(self) -> None:
        self.tried: list[Values] = []
        self.warmups: list[float] = []
        self.on_call: Callable[[int], None] = lambda call: None
        self.noise = 0.0

    def iou(self, values: Values) -> float:
        return float((1 - abs(np.log10(values["train.learning_rate"]) + 2) / 2) * values["network.head_width"] / 24)

    def fit(
        self, _: Any, settings: params.Params, __: Any, judged_on: NDArray[np.int64], *, on_epoch: Any, **___: Any
    ) -> Any:
        values = {
            "train.learning_rate": settings.train.learning_rate,
            "network.head_width": settings.network.head_width,
        }
        self.tried.append(values)
        self.warmups.append(settings.train.warmup_epochs)
        call = len(self.tried) - 1
        for epoch in range(1, settings.train.epochs + 1):
            on_epoch(epoch, {"epoch": epoch, "val_iou": self.iou(values) * epoch / settings.train.epochs})
        self.on_call(call)
        noise = np.random.default_rng(call).normal(0, self.noise, len(judged_on))
        return SimpleNamespace(val_ious=self.iou(values) + noise - noise.mean())


@pytest.fixture
def formula(monkeypatch: pytest.MonkeyPatch) -> Formula:
    found = Formula()
    monkeypatch.setattr(fitting.Fitter, "fit", lambda *given, **others: found.fit(*given, **others))
    # Pictures take longer than such a search.
    monkeypatch.setattr(pictures, "search", lambda study, folder: [])
    return found


def read_result(root: Path) -> dict[str, Any]:
    return json.loads((root / "build/tuning/tiny.json").read_text())


def get_trials(root: Path) -> list[Any]:
    """Returns the trials' runs in the order of their numbers."""
    return sorted(mlflow_runs.find_runs(root, "trial", "tiny"), key=lambda run: int(run.info.run_name.split()[-1]))


def read_runs(root: Path) -> list[tuple[str, str, bool, Values, float | None]]:
    """Returns name, status, whether it is nested, parameters and best IoU of each run, as a user sees them."""
    (study,) = mlflow_runs.find_runs(root, "tune", "tiny")
    return [
        (
            run.info.run_name,
            run.info.status,
            run.data.tags.get("mlflow.parentRunId") == study.info.run_id,
            run.data.params,
            run.data.metrics.get("validation/best_iou"),
        )
        for run in [study, *get_trials(root)]
    ]


def test_trials_are_trained_and_logged_in_runs_nested_under_the_study(root: Path) -> None:
    tune(make_search(trials=2, epochs=2), "tiny", root)
    result = read_result(root)
    (study,) = mlflow_runs.find_runs(root, "tune", "tiny")
    trials = get_trials(root)
    assert [run[:3] for run in read_runs(root)] == [
        ("tiny tuning", "FINISHED", False),
        ("tiny trial 1", "FINISHED", True),
        ("tiny trial 2", "FINISHED", True),
    ]
    client = mlflow.MlflowClient(mlflow_runs.tracking_uri(root))
    for run in trials:
        assert set(run.data.params) == set(SPACE)
        assert run.data.tags["outcome"] == "complete"
        curve = client.get_metric_history(run.info.run_id, "validation/iou")
        assert [point.step for point in curve] == [1, 2]
        assert run.data.metrics["validation/best_iou"] == max(point.value for point in curve)
        assert {"train/loss", "validation/loss"} <= set(run.data.metrics)
        assert not [name for name in run.data.metrics if "/" not in name]
    best = max(trials, key=lambda run: run.data.metrics["validation/best_iou"])
    assert {name: str(value) for name, value in result["best"].items()} == best.data.params
    assert (
        result["best_val_iou"] == best.data.metrics["validation/best_iou"] == study.data.metrics["validation/best_iou"]
    )
    assert {artifact.path for artifact in client.list_artifacts(study.info.run_id)} >= {"history.png", "slices.png"}
    for picture in (root / ".state/tune-tiny").glob("*/*.png"):
        assert cv2.imread(str(picture)).std() > 1


def test_the_first_trial_takes_the_values_of_the_parameters(root: Path, formula: Formula) -> None:
    tune(make_search(trials=2), "tiny", root)
    assert formula.tried[0] == {"train.learning_rate": 5e-3, "network.head_width": 16}
    assert formula.tried[1] != formula.tried[0]
    assert read_result(root)["gain"]["from"] == formula.iou(formula.tried[0])


def test_a_value_outside_the_space_is_searched_from_the_first_trial(root: Path, formula: Formula) -> None:
    tune(make_search(trials=1, space=SPACE | {"network.head_width": {"choices": (8, 24)}}), "tiny", root)
    assert formula.tried[0]["train.learning_rate"] == 5e-3
    assert formula.tried[0]["network.head_width"] in (8, 24)


def test_training_takes_the_best_values(root: Path, formula: Formula, capsys: pytest.CaptureFixture[str]) -> None:
    settings = make_search(trials=6)
    tune(settings, "tiny", root)
    chosen = tuned(settings, "tiny", root)
    best = max(formula.tried, key=formula.iou)
    assert chosen == params.replace(settings, best)
    gain = pytest.approx(formula.iou(best) - formula.iou(formula.tried[0]), abs=1e-4)
    assert read_result(root) == {
        "values": best,
        "best": best,
        "best_val_iou": formula.iou(best),
        "gain": {"mean": gain, "low": gain, "high": gain, "from": formula.iou(formula.tried[0])},
        "judged_images": 8,
        "trials": 6,
        "pruned": sum(run.data.tags["outcome"] == "pruned" for run in get_trials(root)),
        "failed": 0,
    }
    said = capsys.readouterr().err
    assert f"a gain of {read_result(root)['gain']['mean']:.4f} (" in said
    assert "tuned values replace those of params.yaml: " in said


def test_a_gain_that_may_be_chance_changes_nothing(
    root: Path, formula: Formula, capsys: pytest.CaptureFixture[str]
) -> None:
    formula.noise = 2.0
    settings = make_search(trials=6)
    tune(settings, "tiny", root)
    result = read_result(root)
    assert result["best"] != result["values"] == formula.tried[0]
    assert result["gain"]["mean"] > 0 > result["gain"]["low"]
    assert tuned(settings, "tiny", root) == settings
    said = capsys.readouterr().err
    assert "may be chance: the values of params.yaml stay" in said
    assert "replace" not in said


def test_a_trial_is_warmed_up_for_the_same_share_as_the_training(root: Path, formula: Formula) -> None:
    settings = make_search(trials=1, epochs=2)
    train = settings.train.model_copy(update={"epochs": 8, "warmup_epochs": 2.0})
    tune(settings.model_copy(update={"train": train}), "tiny", root)
    assert formula.warmups == [0.5]


def test_only_the_last_third_of_the_trials_changes_the_network(root: Path, formula: Formula) -> None:
    tune(make_search(trials=9), "tiny", root)
    widths = [values["network.head_width"] for values in formula.tried]
    assert set(widths[:6]) == {16}
    assert len({values["train.learning_rate"] for values in formula.tried}) == 9
    assert set(widths[6:]) != {16}


@pytest.mark.parametrize(("minutes", "tried"), [(1e-6, 1), (1e6, 3)])
def test_no_trial_begins_when_the_time_is_up(
    root: Path, formula: Formula, capsys: pytest.CaptureFixture[str], minutes: float, tried: int
) -> None:
    settings = make_search(trials=3, max_minutes=minutes)
    for _ in range(2):
        tune(settings, "tiny", root)
        assert len(formula.tried) == tried
        assert ("1 of 3 trials in 1e-06 minutes" in capsys.readouterr().err) == (tried == 1)
    assert read_result(root)["trials"] == tried


def kill_in_trial_2(formula: Formula, patch: pytest.MonkeyPatch) -> None:
    def kill(call: int) -> None:
        if call == 2:
            raise KilledError

    patch.setattr(formula, "on_call", kill)


def kill_before_trial_2_is_told(formula: Formula, patch: pytest.MonkeyPatch) -> None:
    tell = optuna.Study.tell

    def kill(study: optuna.Study, trial: Any, *rest: Any, **others: Any) -> Any:
        if len(formula.tried) == 3:
            raise KilledError
        return tell(study, trial, *rest, **others)

    patch.setattr(optuna.Study, "tell", kill)


def kill_after_trial_2_is_told(formula: Formula, patch: pytest.MonkeyPatch) -> None:
    tell = optuna.Study.tell

    def kill(study: optuna.Study, trial: Any, *rest: Any, **others: Any) -> Any:
        tell(study, trial, *rest, **others)
        if len(formula.tried) == 3:
            raise KilledError

    patch.setattr(optuna.Study, "tell", kill)


def kill_with_the_first_trial_waiting(formula: Formula, patch: pytest.MonkeyPatch) -> None:
    def kill(study: optuna.Study) -> None:
        raise KilledError

    patch.setattr(optuna.Study, "ask", kill)


def test_a_killed_search_ends_as_an_uninterrupted_one(make_root: Callable[[str], Path], formula: Formula) -> None:
    settings, whole = make_search(trials=7), make_root("whole")
    tune(settings, "tiny", whole)
    expected = list(formula.tried)
    moments = {
        kill_in_trial_2: 1,
        kill_before_trial_2_is_told: 1,
        kill_after_trial_2_is_told: 0,
        kill_with_the_first_trial_waiting: 0,
    }
    for kill, repeated in moments.items():
        formula.tried.clear()
        root = make_root(kill.__name__)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
            kill(formula, patch)
            tune(settings, "tiny", root)
        before = len(formula.tried)
        assert formula.tried == expected[:before], kill.__name__
        tune(settings, "tiny", root)
        assert formula.tried[before:] == expected[before - repeated :], kill.__name__
        assert (root / "build/tuning/tiny.json").read_bytes() == (whole / "build/tuning/tiny.json").read_bytes()
        assert read_runs(root) == read_runs(whole)


def test_more_trials_later_go_on_with_the_same_study(make_root: Callable[[str], Path], formula: Formula) -> None:
    once, stepwise = make_root("once"), make_root("stepwise")
    tune(make_search(trials=6), "tiny", once)
    expected = list(formula.tried)
    formula.tried.clear()
    tune(make_search(trials=4), "tiny", stepwise)
    assert formula.tried == expected[:4]
    four = (stepwise / "build/tuning/tiny.json").read_bytes()
    tune(make_search(trials=6), "tiny", stepwise)
    assert formula.tried == expected
    assert (stepwise / "build/tuning/tiny.json").read_bytes() == (once / "build/tuning/tiny.json").read_bytes()
    assert len(get_trials(stepwise)) == 6
    # Fewer again: nothing is tried, and the result is that of a search that never knew more.
    tune(make_search(trials=4), "tiny", stepwise)
    assert formula.tried == expected
    assert (stepwise / "build/tuning/tiny.json").read_bytes() == four


def test_another_space_or_data_begins_anew(root: Path, formula: Formula) -> None:
    tune(make_search(trials=2), "tiny", root)
    tune(make_search(trials=2, space={"network.head_width": {"choices": (8, 16)}}), "tiny", root)
    assert len(formula.tried) == 4
    make_store(root / "build/store/fit", train=33, validation=8, test=2)
    tune(make_search(trials=2, space={"network.head_width": {"choices": (8, 16)}}), "tiny", root)
    assert len(formula.tried) == 6


def test_a_trial_worse_than_the_median_is_pruned_and_the_search_goes_on(root: Path, formula: Formula) -> None:
    tune(make_search(trials=8, epochs=4), "tiny", root)
    outcomes = [run.data.tags["outcome"] for run in get_trials(root)]
    assert len(outcomes) == 8
    assert "pruned" in outcomes
    pruned = [
        formula.iou(values) for values, outcome in zip(formula.tried, outcomes, strict=True) if outcome == "pruned"
    ]
    assert read_result(root)["pruned"] == len(pruned)
    assert max(pruned) < read_result(root)["best_val_iou"] == max(map(formula.iou, formula.tried))
    assert {run.info.status for run in get_trials(root)} == {"FINISHED"}


def poison(patch: pytest.MonkeyPatch, above: float) -> None:
    """Makes real trainings with a greater learning rate end in a loss that is no number."""
    before_step = loop.Training.before_step

    def spoil(training: loop.Training) -> None:
        before_step(training)
        if training.train.learning_rate > above:
            training.model.get_layer("head_distances").bias.assign([np.inf] * 4)

    patch.setattr(loop.Training, "before_step", spoil)


def test_a_trial_whose_loss_is_no_number_is_not_the_end(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    poison(monkeypatch, above=5e-3 - 1e-9)
    tune(make_search(trials=2, space={"train.learning_rate": {"choices": (5e-3, 1e-3)}}), "tiny", root)
    failed, fine = get_trials(root)
    assert (failed.data.tags["outcome"], fine.data.tags["outcome"]) == ("failed", "complete")
    assert "trial 1 failed (" in capsys.readouterr().err
    result = read_result(root)
    assert result["values"] == {"train.learning_rate": 1e-3}
    assert (result["failed"], result["gain"]) == (1, None)


def test_when_every_trial_fails_one_line_says_why_and_the_next_search_begins_anew(
    root: Path, formula: Formula, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(call: int) -> None:
        raise loop.FitError("out of memory with batches of 16")

    with monkeypatch.context() as patch:
        patch.setattr(formula, "on_call", fail)
        with pytest.raises(
            UserError, match="all 3 trials failed, the last one because of this: out of memory"
        ) as caught:
            tune(make_search(trials=3), "tiny", root)
    assert "\n" not in str(caught.value)
    assert not (root / "build/tuning/tiny.json").exists()
    tune(make_search(trials=3), "tiny", root)
    assert len(formula.tried) == 6
    assert [run[:3] for run in read_runs(root)[1:]] == [(f"tiny trial {n}", "FINISHED", True) for n in (1, 2, 3)]


def test_what_no_value_could_change_ends_the_search_at_once(
    root: Path, formula: Formula, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(call: int) -> None:
        raise UserError("the disk is full")

    monkeypatch.setattr(formula, "on_call", fail)
    with pytest.raises(UserError, match=r"^the disk is full$"):
        tune(make_search(trials=3), "tiny", root)
    assert len(formula.tried) == 1


def test_without_trials_nothing_is_searched_and_the_parameters_stay(root: Path, formula: Formula) -> None:
    settings = make_search(trials=0)
    tune(settings, "tiny", root)
    assert read_result(root) == {"trials": 0, "values": {}}
    assert tuned(settings, "tiny", root) == settings
    assert formula.tried == []


def test_an_unknown_backbone_is_one_line_that_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no backbone resnet in params.yaml; there are tiny") as caught:
        tune(make_search(trials=1), "resnet", tmp_path)
    assert "\n" not in str(caught.value)


def test_values_of_a_search_that_has_not_run_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tiny.json: missing; run `dvc repro tune@tiny` first"):
        tuned(make_search(trials=1), "tiny", tmp_path)
