import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from selfie_localizer import params
from selfie_localizer.app.predict import predict
from selfie_localizer.errors import UsageError, UserError
from selfie_localizer.network import inference
from selfie_localizer.serving import mlflow_model, network_formats
from selfie_localizer.serving.export import export
from tests.serving.conftest import RESNET, SIZE
from tests.serving.networks import write_network
from tests.serving.pictures import picture

VGG = {"stackwise_num_repeats": (1, 1, 1, 1, 1), "stackwise_num_filters": (4, 4, 8, 8, 8)}


def build(architecture: str, network: params.Network, policy: str = "float32", size: int | None = SIZE) -> object:
    """A small network with random weights whose boxes depend on the image."""
    import keras

    from selfie_localizer.network import localizer

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        arguments = RESNET if architecture == "ResNetBackbone" else VGG
        model = localizer.build(params.Backbone(architecture=architecture, arguments=arguments), network, size)
    finally:
        keras.config.set_dtype_policy("float32")
    for layer in model.layers:
        if layer.name.startswith("head_") and layer.get_weights():
            kernel, *bias = layer.get_weights()
            layer.set_weights([np.random.default_rng(1).normal(0, 0.3, kernel.shape), *bias])
    return model


@pytest.fixture(scope="session")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes in all forms; a process of its own, as a user runs it."""
    folder = tmp_path_factory.mktemp("export")
    command = [sys.executable, "-m", "selfie_localizer", "export", "--model", str(trained), "--out", "out"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return folder / "out"


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_every_form_gives_the_box_of_predict_to_who_follows_the_sidecar(exported: Path, trained: Path) -> None:
    import onnxruntime
    import tensorflow as tf

    sidecar = json.loads((exported / "preprocessing.json").read_text())
    _, height, width, _ = sidecar["input"]["shape"]
    path = exported.parent / "selfie.png"
    cv2.imwrite(str(path), picture(3)[..., ::-1])
    pixels = cv2.resize(
        cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), (width, height), 0, 0, 0, cv2.INTER_AREA
    )
    out = io.StringIO()
    predict([str(path)], str(trained), "json", second_look=False, out=out)
    expected = [json.loads(out.getvalue())[0][key] for key in ("x1", "y1", "x2", "y2", "score")]

    assert set(sidecar["forms"]) == {"savedmodel", "onnx", "litert"}
    answers = {}
    session = onnxruntime.InferenceSession(exported / sidecar["forms"]["onnx"]["file"])
    answers["onnx"] = session.run(None, {session.get_inputs()[0].name: pixels[None]})[0]
    loaded = tf.saved_model.load(exported / sidecar["forms"]["savedmodel"]["file"])
    answers["savedmodel"] = loaded.serve(tf.constant(pixels[None])).numpy()
    interpreter = tf.lite.Interpreter(str(exported / sidecar["forms"]["litert"]["file"]))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[None])
    interpreter.invoke()
    answers["litert"] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    for form, answer in answers.items():
        assert answer.dtype == np.float32, form
        assert answer[0] * [306, 230, 306, 230, 1] == pytest.approx(expected, abs=0.05), form
        assert sidecar["forms"][form]["difference_px"] < 0.05


@pytest.mark.parametrize(
    ("architecture", "network"),
    [
        ("ResNetBackbone", params.Network(vectorizer="gap", neck="conv", neck_filters=8, head_width=8)),
        ("VGGBackbone", params.Network(vectorizer="flatten", head_width=8)),
        ("VGGBackbone", params.Network(vectorizer="attention", head_width=8)),
    ],
    ids=["gap and neck", "flatten", "VGG with attention"],
)
@pytest.mark.parametrize("form", ["onnx", "litert"])
def test_every_part_of_the_network_keeps_its_boxes(
    tmp_path: Path, architecture: str, network: params.Network, form: network_formats.Form
) -> None:
    size = 64 if network.neck == "none" else 128
    model = build(architecture, network, size=size)
    assert network_formats.write(model, form, size, tmp_path / network_formats.NAMES[form], "it") < 0.05


def test_a_network_for_images_of_any_size_is_written_for_one(tmp_path: Path) -> None:
    model = build("ResNetBackbone", params.Network(head_width=8), size=None)
    assert network_formats.write(model, "onnx", 48, tmp_path / "model.onnx", "it") < 0.05
    with pytest.raises(Exception, match="Got: 64 Expected: 48"):
        network_formats.LOADERS["onnx"](tmp_path / "model.onnx")(np.zeros((1, 64, 64, 3), np.uint8))


def test_what_was_trained_in_16_bits_answers_in_32(tmp_path: Path) -> None:
    network = params.Network(head_width=8)
    short, full = build("ResNetBackbone", network, "mixed_bfloat16"), build("ResNetBackbone", network)
    full.set_weights(short.get_weights())
    short.save(tmp_path / "model.keras")
    loaded = inference.load(tmp_path / "model.keras")
    pixels = np.stack([cv2.resize(picture(seed), (SIZE, SIZE)) for seed in range(4)])
    expected = full.predict_on_batch(pixels)
    assert not np.array_equal(expected, short.predict_on_batch(pixels))
    np.testing.assert_array_equal(loaded.predict_on_batch(pixels), expected)
    assert network_formats.write(loaded, "onnx", SIZE, tmp_path / "model.onnx", "it") < 0.05


def test_other_boxes_in_a_batch_than_alone_are_a_difference() -> None:
    def constant(value: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda pixels: np.full((len(pixels), 5), value, np.float32)

    def worse_in_batches(pixels: np.ndarray) -> np.ndarray:
        return np.full((len(pixels), 5), 0.5 if len(pixels) == 1 else 0.6, np.float32)

    assert network_formats.compare(constant(0.5), constant(0.501), 64) == pytest.approx(0.306, abs=1e-3)
    assert network_formats.compare(constant(0.5), worse_in_batches, 64) == pytest.approx(30.6, abs=1e-3)
    assert np.isnan(network_formats.compare(constant(0.5), constant(np.nan), 64))


def test_a_form_with_other_boxes_fails_the_command_and_is_not_written(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No form is exact to the last bit, so that nothing passes a bound below zero.
    monkeypatch.setattr(network_formats, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match=r"as onnx its boxes are 0\.00 px off"):
        export(["onnx"], tmp_path / "out", str(trained))
    assert list((tmp_path / "out").iterdir()) == []


def test_8_bits_may_move_boxes_as_far_as_params_say(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("serving: {max_shift_px: 64}\n")
    export(["litert_int8"], tmp_path / "out", str(trained), tmp_path)
    sidecar = json.loads((tmp_path / "out/preprocessing.json").read_text())
    assert sidecar["forms"]["litert_int8"]["file"] == "model_int8.tflite"
    assert 0 < sidecar["forms"]["litert_int8"]["difference_px"] < 5
    (tmp_path / "strict").mkdir()
    (tmp_path / "strict/params.yaml").write_text("serving: {max_shift_px: 1e-9}\n")
    with pytest.raises(UserError, match=r"more than serving\.max_shift_px"):
        export(["litert_int8"], tmp_path / "out", str(trained), tmp_path / "strict")


@pytest.mark.parametrize("formats", [["onnx", "torch"], [""]])
def test_an_unknown_format_is_wrong_usage(formats: list[str], tmp_path: Path, trained: Path) -> None:
    with pytest.raises(UsageError, match="choose from savedmodel, onnx, litert, litert_int8"):
        export(formats, tmp_path, str(trained))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match=r"--out .*out: cannot be written"):
        export(["onnx"], tmp_path / "out", str(trained))


def test_the_champion_is_exported_from_the_model_that_it_was_made_from(
    trained: Path, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    artifacts = (tmp_path / "artifacts").as_uri()
    experiment = client.create_experiment("selfie-localizer", artifact_location=artifacts)
    meta = json.loads((trained / "meta.json").read_text())
    tags = {"stage": "train", "backbone": meta["backbone"], "model_digest": meta["model_digest"]}
    run = client.create_run(experiment, tags=tags).info.run_id
    network = write_network(trained / "model.keras", tmp_path / "network")
    info = mlflow_model.log_served(network, meta, run, uri=uri, registered_name="selfie-localizer")
    client.set_registered_model_alias("selfie-localizer", "champion", info.registered_model_version)

    with pytest.raises(UserError, match="neither in models/ nor in a training run"):
        export(["onnx"], tmp_path / "out", root=tmp_path)

    shutil.copytree(trained, tmp_path / "models/small")
    export(["onnx"], tmp_path / "out", root=tmp_path)
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(tmp_path / "models")

    with mlflow.start_run(run_id=run):
        mlflow.keras.log_model(inference.load(trained / "model.keras"), name="model", pip_requirements=["keras"])
    export(["onnx"], tmp_path / "out", root=tmp_path)
    assert (tmp_path / "out/model.onnx").exists()
