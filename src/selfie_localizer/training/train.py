"""The train stage: fits the localizer of one backbone and writes it with all that is to be known of it."""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from selfie_localizer import files, params
from selfie_localizer.dataset.store import FIT, TRAINED_ON, Store, open_store
from selfie_localizer.errors import UserError
from selfie_localizer.progress import say
from selfie_localizer.state import locked_state
from selfie_localizer.tracking import mlflow_runs
from selfie_localizer.tracking.resilient_run import Run

if TYPE_CHECKING:
    from selfie_localizer.training.hardware import Hardware
    from selfie_localizer.training.loop import FitResult

# Those that are the same in every rerun; the speed is in MLflow.
COLUMNS = ["epoch", "loss", "iou", "val_loss", "val_iou", "learning_rate"]
VERSIONS = ("keras", "keras-hub", "tensorflow", "numpy")


def train(settings: params.Params, backbone: str, root: Path = Path(".")) -> None:
    """Fits one backbone and writes `models/<backbone>/` and `reports/training/<backbone>.csv` and `.json`.

    A stage that was killed goes on after its last epoch, in the same MLflow run.

    Args:
        settings: All parameters; what the tune stage chose for the backbone replaces them.
        backbone: Key of the backbone.
        root: The project's folder.

    Raises:
        UserError: The backbone or the store is missing, a split has no labelled face, or as `fit.fit`.
    """
    if backbone not in settings.backbones:
        raise UserError(f"no backbone {backbone} in params.yaml; there are {', '.join(settings.backbones)}")
    settings = _tuned(settings, backbone, root)
    store = open_store(root / FIT)
    # TensorFlow takes seconds to import; what is wrong above is said at once.
    from selfie_localizer.training import fit, hardware
    from selfie_localizer.training.calibrate import calibrate

    label = f"train {backbone}"
    rows, judged_on = store.indices("train"), store.indices("validation")
    fit.check_splits(rows, judged_on)
    rows = np.sort(np.concatenate([rows, store.negatives("train")]))
    machine = hardware.choose(settings.train, len(rows), store.size, label)
    with (
        locked_state(f"train-{backbone}", _fingerprint(settings, backbone, store, machine), root / ".state") as state,
        mlflow_runs.open_run("train", backbone, root, state) as run,
    ):
        run.params(_parameters(settings, backbone, store, machine))
        run.dataset("selfies", mlflow_runs.data_version(root), "data", "training")
        with mlflow_runs.system_metrics(run):
            result = fit.Fitter(backbone, store).fit(
                settings,
                rows,
                judged_on,
                hardware=machine,
                state=state,
                on_epoch=run.epoch,
                label=label,
            )
        calibrate(result.model, store, judged_on, store.negatives("validation"))
        meta = _meta(settings, backbone, store, machine, result)
        _write(settings, backbone, store, result, meta, state, root)
        _log(run, meta, root / "models" / backbone)
    say(
        f"{label}: best validation IoU {result.val_iou:.3f} in epoch {result.epoch} of {len(result.history)}, "
        f"{result.minutes:.1f} min; models/{backbone}/ holds the model"
    )


def _tuned(settings: params.Params, backbone: str, root: Path) -> params.Params:
    from selfie_localizer.training.tune import tuned

    if settings.tune.trials and not (root / "build/tuning" / f"{backbone}.json").exists():
        say(f"train {backbone}: not tuned yet, taking the values of params.yaml; `dvc repro` tunes first")
        return settings
    return tuned(settings, backbone, root) if settings.tune.trials else settings


def _fingerprint(settings: params.Params, backbone: str, store: Store, machine: "Hardware") -> str:
    from selfie_localizer.network import starter_weights
    from selfie_localizer.training import fit

    used = settings.model_dump(include={"seed", "network", "augment", "train"})
    row = settings.backbones[backbone]
    hardware = machine.precision, machine.batch_size, machine.devices
    code = fit.code("train")
    return files.digest(used, row.model_dump(), starter_weights.digest_of(row), store.digest, code, *hardware)


def _parameters(settings: params.Params, backbone: str, store: Store, machine: "Hardware") -> dict[str, Any]:
    """Returns what MLflow shows as the run's parameters: flat, and with the same names for every backbone."""
    used = settings.model_dump(include={"seed", "network", "augment", "train"})
    used["train"] |= {"batch_size": machine.batch_size, "precision": machine.precision}
    row = settings.backbones[backbone]
    used |= {"backbone": {"name": backbone, "architecture": row.architecture, "weights": row.weights}}
    used["data"] = {f"{split}_images": len(store.indices(split)) for split in ("train", "validation")}
    used["data"]["train_negatives"] = len(store.negatives("train"))
    used["data"]["image_size"] = store.size
    counts = store.table["annotators"].iloc[store.indices("train")].value_counts()
    used["data"]["labels"] = ", ".join(f"{names} {count:,}" for names, count in counts.items())
    return mlflow_runs.flat(used)


def _meta(
    settings: params.Params, backbone: str, store: Store, machine: "Hardware", result: "FitResult"
) -> dict[str, Any]:
    weights = [weight.numpy() for weight in result.model.weights]
    return {
        "backbone": backbone,
        "image_size": store.size,
        "parameters": result.model.count_params(),
        "settings": settings.model_dump(include={"seed", "network", "augment", "train"})
        | {"backbone": settings.backbones[backbone].model_dump()},
        "precision": machine.precision,
        "batch_size": machine.batch_size,
        "data_digest": store.digest,
        "val_iou": result.val_iou,
        "best_epoch": result.epoch,
        "epochs": len(result.history),
        "model_digest": files.digest(*(part for weight in weights for part in (weight.shape, weight.tobytes()))),
        "versions": {name: version(name) for name in VERSIONS},
    }


def _write(
    settings: params.Params,
    backbone: str,
    store: Store,
    result: "FitResult",
    meta: Mapping[str, Any],
    state: Path,
    root: Path,
) -> None:
    from selfie_localizer.network import drawing
    from selfie_localizer.training import loop, pictures
    from selfie_localizer.training.checkpoint import saving

    target, reports = root / "models" / backbone, root / "reports/training"
    with saving(str(target)), files.atomic_write(target) as folder:
        folder.mkdir()
        loop.save_model(result.model, folder / "model.keras")
        files.write_json(folder / "meta.json", meta)
        digests = store.table.loc[store.table["split"] == "train", "sha256"]
        (folder / TRAINED_ON).write_text("".join(f"{digest}\n" for digest in sorted(set(digests))))
        drawing.draw(result.model, folder / "architecture.png", backbone)
        pictures.curves(result.history, folder / "curves.png", backbone)
        pictures.predictions(result.model, store, folder / "predictions.png", f"{backbone}: validation images")
        if settings.train.keep_every_epoch:
            shutil.copytree(state / loop.EPOCHS, folder / loop.EPOCHS)
    with saving(str(reports)):
        table = pd.DataFrame(result.history)[COLUMNS].astype({"epoch": int})
        with files.atomic_write(reports / f"{backbone}.csv") as path:
            table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
        figures = {key: meta[key] for key in ("val_iou", "best_epoch", "epochs", "parameters")}
        files.write_json(reports / f"{backbone}.json", figures | {"minutes": round(result.minutes, 2)})


def _log(run: Run, meta: Mapping[str, Any], folder: Path) -> None:
    run.metrics({mlflow_runs.BEST_IOU: meta["val_iou"], mlflow_runs.BEST_EPOCH: meta["best_epoch"]})
    run.params({"backbone.parameters": meta["parameters"]})
    run.tags({"model_digest": meta["model_digest"]})
    for path in sorted(folder.glob("*.png")):
        run.artifact(path)
    run.artifact(folder / "meta.json")
    run.model(folder / "model.keras", [f"{name}=={version(name)}" for name in VERSIONS])
