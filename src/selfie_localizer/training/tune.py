"""The tune stage: Optuna searches the values that `tune.space` lists, for one backbone, with short pruned runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from selfie_localizer import files, params
from selfie_localizer.dataset.store import FIT, Store, open_store
from selfie_localizer.errors import UserError
from selfie_localizer.progress import say
from selfie_localizer.state import locked_state
from selfie_localizer.tracking import mlflow_runs
from selfie_localizer.tracking.resilient_run import Run

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# Marks a trial that came to nothing. It counts as a complete one of IoU 0, from which the sampler learns.
FAILED = "failed"


def tune(settings: params.Params, backbone: str, root: Path = Path(".")) -> None:
    """Searches for one backbone and writes `build/tuning/<backbone>.json`.

    The first trial takes the values of `params.yaml`, so that what is chosen is never worse than they are on the
    validation split. A killed search goes on: finished trials count and are not repeated, the unfinished one begins
    anew, and each suggestion depends only on the seed and on the finished trials.

    Args:
        settings: All parameters.
        backbone: Key of the backbone.
        root: The project's folder.

    Raises:
        UserError: The backbone or the store is missing, or every trial failed.
    """
    if backbone not in settings.backbones:
        raise UserError(f"no backbone {backbone} in params.yaml; there are {', '.join(settings.backbones)}")
    result: dict[str, Any] = {"trials": 0, "values": {}}
    if settings.tune.trials and settings.tune.space:
        result = _search(settings, backbone, root)
    else:
        say(f"tune {backbone}: no trials asked for; the values of params.yaml are taken")
    files.write_json(root / "build/tuning" / f"{backbone}.json", result)


def tuned(settings: params.Params, backbone: str, root: Path = Path(".")) -> params.Params:
    """Returns the parameters with the values that the tune stage chose for a backbone, and says which.

    Raises:
        UserError: The tune stage has not run.
    """
    path = root / "build/tuning" / f"{backbone}.json"
    try:
        values = json.loads(path.read_text())["values"]
    except FileNotFoundError:
        raise UserError(f"{path}: missing; run `dvc repro tune@{backbone}` first") from None
    if values:
        say(f"train {backbone}: tuned values replace those of params.yaml: {_shown(values)}")
    return params.replace(settings, values)


def _search(settings: params.Params, backbone: str, root: Path) -> dict[str, Any]:
    store = open_store(root / FIT)
    with locked_state(f"tune-{backbone}", _fingerprint(settings, backbone, store), root / ".state") as state:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = _open_study(backbone, state)
        with mlflow_runs.open_run("tune", backbone, root, state) as run:
            _describe(run, settings, store, root)
            while len(_finished(study)) < settings.tune.trials:
                _try_one(study, settings, backbone, store, root, state, run)
            try:
                result = _result(study, settings.tune.trials, backbone)
            except UserError:
                # Memory may be free the next time, and there is nothing worth keeping.
                optuna.delete_study(study_name=backbone, storage=_database(state))
                raise
            _log_result(run, study, result, state)
    say(
        f"tune {backbone}: best validation IoU {result['val_iou']:.3f} of {result['trials']} trials "
        f"({result['pruned']} pruned, {result['failed']} failed), "
        f"first trial (params.yaml) {result['first_val_iou']:.3f}"
    )
    return result


def _database(state: Path) -> str:
    return f"sqlite:///{state.resolve() / 'study.db'}"


def _open_study(backbone: str, state: Path) -> optuna.Study:
    """Opens or creates the study, and closes the trials that a killed process left; no other process may be here."""
    study = optuna.create_study(
        study_name=backbone,
        # A database is whole after a kill; a journal may end in half a line or stay locked.
        storage=_database(state),
        load_if_exists=True,
        direction="maximize",
        # It judges by the finished trials alone. Hyperband's brackets hang on the trial's number, which a kill changes.
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
    )
    while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.ask()
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def _try_one(
    study: optuna.Study,
    settings: params.Params,
    backbone: str,
    store: Store,
    root: Path,
    state: Path,
    parent: Run,
) -> None:
    from selfie_localizer.training.fit import fit_backbone
    from selfie_localizer.training.loop import FitError

    number = len(_finished(study))
    # A sampler of its own for each trial: then a resumed search suggests what an uninterrupted one would.
    study.sampler = optuna.samplers.TPESampler(seed=settings.seed * 100_003 + number, n_startup_trials=4)
    if number == 0:
        study.enqueue_trial(_current(settings))
    trial = study.ask()
    values = {name: _suggest(trial, name, search) for name, search in settings.tune.space.items()}
    short = {"train.epochs": settings.tune.epochs, "train.max_minutes": 0.0, "train.patience": 0}
    chosen = params.replace(settings, {**short, "train.keep_every_epoch": False, **values})
    say(f"tune {backbone}: trial {number + 1} of {settings.tune.trials}: " + _shown(values))

    train = store.indices("train")
    order = np.random.default_rng(settings.seed).permutation(len(train))
    train = np.sort(train[order[: max(1, round(settings.tune.fraction * len(train)))]])
    best, outcome = 0.0, "complete"
    with mlflow_runs.open_run("trial", backbone, root, state, parent.id, number + 1) as run:
        run.params(values)

        def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
            nonlocal best
            best = max(best, metrics["val_iou"])
            run.epoch(epoch, metrics)
            trial.report(metrics["val_iou"], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        label = f"{backbone} trial {number + 1}"
        try:
            fit_backbone(chosen, backbone, store, train, store.indices("validation"), on_epoch=on_epoch, label=label)
        except optuna.TrialPruned:
            outcome = "pruned"
        except FitError as error:
            # A value that makes the loss NaN is a bad value, not the end of the search.
            best, outcome = 0.0, "failed"
            say(f"tune {backbone}: trial {number + 1} failed ({error})")
            trial.set_user_attr(FAILED, str(error))
        run.tags({"outcome": outcome})
        run.metrics({mlflow_runs.BEST_IOU: best})
    # Last of all: a trial that was told is not tried again, so that a run still open then would stay so for good.
    if outcome == "pruned":
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, best)


def _fingerprint(settings: params.Params, backbone: str, store: Store) -> str:
    from selfie_localizer.network import starter_weights
    from selfie_localizer.training.fit import code

    content = settings.model_dump(include={"seed", "network", "augment", "train", "tune"})
    # More trials go on with the study that is there.
    content["tune"].pop("trials")
    row = settings.backbones[backbone]
    return files.digest(content, row.model_dump(), starter_weights.digest_of(row), store.digest, code("tune"))


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=FINISHED)


def _current(settings: params.Params) -> dict[str, Any]:
    content = settings.model_dump(by_alias=True)
    found = {}
    for name, search in settings.tune.space.items():
        section, key = name.split(".")
        value = content[section][key]
        if search.choices is not None:
            allowed = value in search.choices
        else:
            assert search.low is not None
            assert search.high is not None
            allowed = search.low <= value <= search.high
        if allowed:
            found[name] = value
    return found


def _suggest(trial: optuna.Trial, name: str, search: params.Search) -> Any:
    if search.choices is not None:
        return trial.suggest_categorical(name, search.choices)
    assert search.low is not None
    assert search.high is not None
    if isinstance(search.low, int) and isinstance(search.high, int):
        return trial.suggest_int(name, search.low, search.high, log=search.log)
    return trial.suggest_float(name, search.low, search.high, log=search.log)


def _result(study: optuna.Study, count: int, backbone: str) -> dict[str, Any]:
    # There are more where more were asked for once; the result must not hang on that.
    trials = _finished(study)[:count]
    errors = [trial.user_attrs[FAILED] for trial in trials if FAILED in trial.user_attrs]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and FAILED not in trial.user_attrs]
    if not complete:
        raise UserError(f"tune {backbone}: all {len(trials)} trials failed, the last one because of this: {errors[-1]}")
    best = max(complete, key=lambda trial: trial.value or 0.0)
    return {
        "values": best.params,
        "val_iou": best.value,
        "first_val_iou": trials[0].value,
        "trials": len(trials),
        "pruned": len(trials) - len(complete) - len(errors),
        "failed": len(errors),
    }


def _describe(run: Run, settings: params.Params, store: Store, root: Path) -> None:
    run.params(mlflow_runs.flat({"tune": settings.tune.model_dump(), "seed": settings.seed}))
    run.dataset("selfies", mlflow_runs.data_version(root), "data", "tuning")


def _log_result(run: Run, study: optuna.Study, result: Mapping[str, Any], state: Path) -> None:
    from selfie_localizer.training import pictures

    run.metrics({mlflow_runs.BEST_IOU: result["val_iou"], "validation/first_iou": result["first_val_iou"]})
    run.tags({f"best.{name}": _short(value) for name, value in result["values"].items()})
    for path in pictures.search(study, state):
        run.artifact(path)


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in values.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
