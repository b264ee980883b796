import base64
import json
from pathlib import Path

import numpy as np

from selfie_localizer import params
from selfie_localizer.app import predict
from selfie_localizer.network import litert_file
from selfie_localizer.serving import mlflow_model
from selfie_localizer.serving.locator import Locator, from_base64
from tests.serving.networks import write_network
from tests.serving.pictures import jpeg

GOOD = base64.b64encode(jpeg(0)).decode()


def test_the_logged_model_holds_only_what_serving_needs(served: Path) -> None:
    requirements = {line.split("==")[0] for line in (served / "requirements.txt").read_text().split()}
    assert requirements == {"mlflow", "onnxruntime", "numpy", "pandas", "opencv-python-headless", "pillow"}
    code = {str(path.relative_to(served / "code")) for path in (served / "code").rglob("*.py")}
    assert code == {str(path) for path in mlflow_model.served_code()}
    parts = {name.split("/")[1] for name in code}
    assert parts == {"__init__.py", "boxes.py", "errors.py", "network", "photos", "quiet.py", "serving"}


def test_what_is_served_in_8_bits_with_a_second_look_answers_so_and_needs_no_other_runtime(
    trained: Path, tmp_path: Path
) -> None:
    import mlflow
    import pandas as pd

    meta = json.loads((trained / "meta.json").read_text())
    serving = params.Serving(form="litert_int8", max_shift_px=64, second_look=True)
    network = write_network(trained / "model.keras", tmp_path / "network", serving)
    mlflow_model.save_served(network, meta, tmp_path / "model", serving)
    requirements = {line.split("==")[0] for line in (tmp_path / "model/requirements.txt").read_text().split()}
    assert "ai-edge-litert" in requirements
    assert "onnxruntime" not in requirements
    known = json.loads((tmp_path / "model/artifacts/meta.json").read_text())
    assert (known["form"], known["second_look"]) == ("litert_int8", True)

    loaded = litert_file.load(tmp_path / "model/artifacts/network.tflite")
    (expected,) = Locator(loaded, 64, looks_again=True).locate([GOOD], from_base64)
    (row,) = (
        mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(pd.DataFrame({"image": [GOOD]})).to_dict("records")
    )
    assert row == expected
    assert expected != Locator(loaded, 64).locate([GOOD], from_base64)[0]
    assert predict.load(str(tmp_path / "model"), tmp_path).locate([GOOD], from_base64) == [expected]


def test_log_served_registers_a_version_of_a_run(trained: Path, tmp_path: Path, empty_database: Path) -> None:
    import shutil

    import mlflow

    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("selfie-localizer", artifact_location=(tmp_path / "artifacts").as_uri())
    run = client.create_run(experiment)
    meta = json.loads((trained / "meta.json").read_text())
    network = write_network(trained / "model.keras", tmp_path / "network")
    info = mlflow_model.log_served(network, meta, run.info.run_id, uri=uri, registered_name="selfie-localizer")
    version = client.get_model_version("selfie-localizer", info.registered_model_version)
    assert version.run_id == run.info.run_id
    assert info.metadata["image_size"] == 64
    assert info.signature.inputs.input_names() == ["image"]


def test_a_network_that_answers_nan_is_an_error_of_that_image() -> None:
    def network(pixels: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(pixels))[:, None] == 1, np.nan, np.full((len(pixels), 5), 0.5, np.float32))

    rows = Locator(network, 8).locate([GOOD] * 3, from_base64)
    assert [row["error"] for row in rows] == [None, "the network gave no finite answer", None]


def test_the_network_never_sees_more_than_a_chunk() -> None:
    seen = []

    def network(pixels: np.ndarray) -> np.ndarray:
        seen.append(len(pixels))
        return np.full((len(pixels), 5), 0.5, np.float32)

    Locator(network, 8).locate([GOOD] * 70, from_base64)
    assert seen == [32, 32, 6]
