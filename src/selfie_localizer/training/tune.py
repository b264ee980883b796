"""The tune stage: Optuna searches the values that `tune.space` lists, for one backbone, with short pruned trainings.

A short training with few images cannot tell small differences apart. So what is found replaces the values of
`params.yaml` only where its gain on the validation images, compared image by image, is more than chance.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from selfie_localizer import files, params
from selfie_localizer.dataset.store import FIT, Store, open_store
from selfie_localizer.errors import UserError
from selfie_localizer.intervals import paired_difference
from selfie_localizer.progress import say
from selfie_localizer.state import locked_state
from selfie_localizer.tracking import mlflow_runs
from selfie_localizer.tracking.resilient_run import Run

if TYPE_CHECKING:
    from selfie_localizer.training.fit import Fitter

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# So many values are drawn at random, that of `params.yaml` among them, before the sampler learns from them.
STARTUP_TRIALS = 3
# Share of the trials, the first ones, that leave the network as it is, since one more network has to be traced.
SAME_NETWORK = 2 / 3
# More validation images than this tell trials apart no better.
JUDGED_IMAGES = 2000
# IoU of each of these images.
IOUS = "ious"
# Marks a trial that came to nothing. It counts as a complete one of IoU 0, from which the sampler learns.
FAILED = "failed"


def tune(settings: params.Params, backbone: str, root: Path = Path(".")) -> None:
    """Searches for one backbone and writes `build/tuning/<backbone>.json`.

    The first trial takes the values of `params.yaml`. They stay unless the best trial is better by more than chance:
    unless the 95 % interval of its gain, of a paired bootstrap over the validation images, lies above 0.

    A killed search goes on: finished trials count and are not repeated, the unfinished one begins anew, and each
    suggestion depends only on the seed and on the finished trials. No trial begins after `tune.max_minutes`.

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
    chosen = params.replace(settings, values)
    if chosen != settings:
        say(f"train {backbone}: tuned values replace those of params.yaml: {_shown(values)}")
    return chosen


def _search(settings: params.Params, backbone: str, root: Path) -> dict[str, Any]:
    store = open_store(root / FIT)
    with locked_state(f"tune-{backbone}", _fingerprint(settings, backbone, store), root / ".state") as state:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = _open_study(backbone, state)
        with mlflow_runs.open_run("tune", backbone, root, state) as run:
            _describe(run, settings, store, root)
            _try_all(study, settings, backbone, store, root, state, run)
            try:
                result = _result(study, settings, backbone)
            except UserError:
                # Memory may be free the next time, and there is nothing worth keeping.
                optuna.delete_study(study_name=backbone, storage=_database(state))
                raise
            _log_result(run, study, result, state)
    say(f"tune {backbone}: {_told(result)}")
    return result


def _told(result: Mapping[str, Any]) -> str:
    trials = f"{result['trials']} trials, {result['pruned']} pruned, {result['failed']} failed"
    best = f"best validation IoU {result['best_val_iou']:.3f} by {_shown(result['best'])}"
    if (gain := result["gain"]) is None:
        return f"{trials}: {best}"
    if result["best"] == result["values"] and not gain["mean"]:
        return f"{trials}: none is better than the values of params.yaml, with a validation IoU of {gain['from']:.3f}"
    chance = "" if result["best"] == result["values"] else ", which may be chance: the values of params.yaml stay"
    return f"{trials}: {best}, a gain of {gain['mean']:.4f} ({gain['low']:.4f} to {gain['high']:.4f}){chance}"


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


def _try_all(
    study: optuna.Study, settings: params.Params, backbone: str, store: Store, root: Path, state: Path, parent: Run
) -> None:
    from selfie_localizer.training.fit import Fitter

    fitter = Fitter(backbone, store)
    rows = _share(store.indices("train"), settings.tune.fraction, settings.seed)
    judged_on = store.indices("validation")
    judged_on = _share(judged_on, min(1.0, JUDGED_IMAGES / max(len(judged_on), 1)), settings.seed)
    while (number := len(_finished(study))) < settings.tune.trials:
        spent = sum(trial.duration.total_seconds() for trial in _finished(study) if trial.duration)
        if number and settings.tune.max_minutes and spent >= 60 * settings.tune.max_minutes:
            say(f"tune {backbone}: {number} of {settings.tune.trials} trials in {settings.tune.max_minutes:g} minutes")
            break
        # A sampler of its own for each trial: then a resumed search suggests what an uninterrupted one would.
        seed = settings.seed * 100_003 + number
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        if fixed := _fixed(settings, number):
            study.enqueue_trial(fixed)
        trial = study.ask()
        values = {name: _suggest(trial, name, search) for name, search in settings.tune.space.items()}
        say(f"tune {backbone}: trial {number + 1} of {settings.tune.trials}: " + _shown(values))
        with mlflow_runs.open_run("trial", backbone, root, state, parent.id, number + 1) as run:
            run.params(values)
            best, outcome = _try_one(fitter, trial, settings, values, rows, judged_on, run)
            run.tags({"outcome": outcome})
            run.metrics({mlflow_runs.BEST_IOU: best})
        # Last of all: a trial that was told is not tried again, so that a run still open then would stay so for good.
        if outcome == "pruned":
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, best)


def _try_one(
    fitter: "Fitter",
    trial: optuna.Trial,
    settings: params.Params,
    values: Mapping[str, Any],
    rows: NDArray[np.int64],
    judged_on: NDArray[np.int64],
    run: Run,
) -> tuple[float, str]:
    """Returns the best validation IoU of a trial, and `complete`, `pruned` or `failed`."""
    from selfie_localizer.training.loop import FitError

    epochs = settings.tune.epochs
    # The schedule has the same shape as in the training: a rate that is warmed up for longer would be another one.
    warmup = settings.train.warmup_epochs * epochs / settings.train.epochs
    short = {"train.epochs": epochs, "train.warmup_epochs": warmup, "train.max_minutes": 0.0, "train.patience": 0}
    chosen = params.replace(settings, {**short, "train.keep_every_epoch": False, **values})
    best = 0.0

    def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        nonlocal best
        best = max(best, metrics["val_iou"])
        run.epoch(epoch, metrics)
        trial.report(metrics["val_iou"], epoch)
        # After the last epoch there is nothing to save, and an IoU to lose.
        if epoch < epochs and trial.should_prune():
            raise optuna.TrialPruned

    label = f"{fitter.backbone} trial {trial.number + 1}"
    try:
        result = fitter.fit(chosen, rows, judged_on, on_epoch=on_epoch, label=label)
    except optuna.TrialPruned:
        return best, "pruned"
    except FitError as error:
        # A value that makes the loss NaN is a bad value, not the end of the search.
        say(f"tune {fitter.backbone}: trial {trial.number + 1} failed ({error})")
        trial.set_user_attr(FAILED, str(error))
        return 0.0, "failed"
    trial.set_user_attr(IOUS, [round(float(iou), 5) for iou in result.val_ious])
    return best, "complete"


def _share(rows: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Returns a random share of positions, at least one of them, in order."""
    if fraction >= 1:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows))
    return np.sort(rows[order[: max(1, round(fraction * len(rows)))]])


def _fixed(settings: params.Params, number: int) -> dict[str, Any]:
    """Returns the values of a trial that are those of `params.yaml`; the sampler chooses the others."""
    current = _current(settings)
    if number == 0:
        return current
    if number < SAME_NETWORK * settings.tune.trials:
        return {name: value for name, value in current.items() if name.startswith("network.")}
    return {}


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


def _result(study: optuna.Study, settings: params.Params, backbone: str) -> dict[str, Any]:
    # There are more where more were asked for once; the result must not hang on that.
    trials = _finished(study)[: settings.tune.trials]
    errors = [trial.user_attrs[FAILED] for trial in trials if FAILED in trial.user_attrs]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and FAILED not in trial.user_attrs]
    if not complete:
        raise UserError(f"tune {backbone}: all {len(trials)} trials failed, the last one because of this: {errors[-1]}")
    best = max(complete, key=lambda trial: trial.value or 0.0)
    values: dict[str, Any] = best.params
    gain: dict[str, float] | None = None
    # The first trial took the values of params.yaml, where they lie in the space.
    if trials[0] in complete and len(_current(settings)) == len(settings.tune.space):
        of_best, of_first = (np.array(trial.user_attrs[IOUS]) for trial in (best, trials[0]))
        found = paired_difference(of_best, of_first, settings.seed)
        values = best.params if found["low"] > 0 else trials[0].params
        gain = {**found, "from": trials[0].value or 0.0}
    return {
        "values": values,
        "best": best.params,
        "best_val_iou": best.value,
        "gain": gain,
        "judged_images": len(best.user_attrs[IOUS]),
        "trials": len(trials),
        "pruned": len(trials) - len(complete) - len(errors),
        "failed": len(errors),
    }


def _describe(run: Run, settings: params.Params, store: Store, root: Path) -> None:
    run.params(mlflow_runs.flat({"tune": settings.tune.model_dump(), "seed": settings.seed}))
    run.dataset("selfies", mlflow_runs.data_version(root), "data", "tuning")


def _log_result(run: Run, study: optuna.Study, result: Mapping[str, Any], state: Path) -> None:
    from selfie_localizer.training import pictures

    run.metrics({mlflow_runs.BEST_IOU: result["best_val_iou"]})
    if result["gain"]:
        run.metrics({f"validation/gain_{key}": result["gain"][key] for key in ("mean", "low", "high")})
    run.tags({f"best.{name}": _short(value) for name, value in result["values"].items()})
    for path in pictures.search(study, state):
        run.artifact(path)


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in values.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
