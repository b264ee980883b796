"""MLflow's page with the backbones and baselines side by side: a saved view of the experiment, and its link.

MLflow's list of runs shows no metric unless asked to. What its menu **Views** saves says which columns, what order and
which runs, and is a tag of the experiment; `evaluate` saves one that shows the test IoU of all that has one.
"""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

from selfie_localizer.tracking import mlflow_runs

VIEW = "comparison"
TAG = f"mlflow.sharedViewState.{VIEW}"
TITLE = "Backbones by test IoU"
# Where `mlflow ui` listens.
LOCAL_PAGE = "http://127.0.0.1:5000"


def saved_view(iou: str) -> dict[str, str]:
    """Returns the tag of the experiment by which MLflow's page knows the view.

    Args:
        iou: Name of the metric that runs are ordered by, `test/iou` or `test/iou_labels`. The columns are those
            metrics that are the same but for what stands in place of `iou`, and the best IoU on validation.
    """
    shown = [iou.replace("iou", name, 1) for name in ("iou", "iou_low", "iou_high")]
    state = {
        "searchFilter": f"metrics.`{iou}` >= 0",
        "orderByKey": f"metrics.`{iou}`",
        "orderByAsc": False,
        "selectedColumns": [*(f"metrics.`{name}`" for name in (*shown, mlflow_runs.BEST_IOU)), "attributes.`Models`"],
    }
    # The form is that of MLflow's own page; times are of its list of views, and this view is the same at any time.
    return {TAG: json.dumps({"name": TITLE, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})}


def link(root: Path = Path(".")) -> tuple[str, str] | None:
    """Returns the command that starts MLflow's page, empty where a server shows it, and the address of the comparison.

    None where there is nothing to compare yet, or the server does not answer. Where runs are in a SQLite file this
    takes no import of MLflow, which takes seconds.
    """
    uri = mlflow_runs.tracking_uri(root)
    experiment = _experiment(uri)
    if experiment is None:
        return None
    shared = f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"
    address = f"/{shared}&compareRunsMode=CHART"
    place = urlsplit(uri)
    if place.scheme in ("http", "https"):
        # Without a name and password that may stand in it.
        host = place.netloc.rpartition("@")[2]
        return "", f"{place.scheme}://{host}{place.path.rstrip('/')}{address}"
    elsewhere = ' --backend-store-uri "$MLFLOW_TRACKING_URI"' if os.environ.get("MLFLOW_TRACKING_URI") else ""
    return f"mlflow ui{elsewhere}", LOCAL_PAGE + address


def _experiment(uri: str) -> str | None:
    """Returns the id of the experiment, where it has the view."""
    database = mlflow_runs.database(uri)
    if database is not None:
        return _read(database)
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow_runs.quiet()
    try:
        experiment = mlflow.MlflowClient(uri).get_experiment_by_name(mlflow_runs.EXPERIMENT)
    except MlflowException:
        return None
    return experiment.experiment_id if experiment and TAG in experiment.tags else None


def _read(database: Path) -> str | None:
    query = (
        "SELECT experiment_id FROM experiments JOIN experiment_tags USING (experiment_id) WHERE name = ? AND key = ?"
    )
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
            row = connection.execute(query, (mlflow_runs.EXPERIMENT, TAG)).fetchone()
    except sqlite3.Error:
        return None
    return str(row[0]) if row else None
