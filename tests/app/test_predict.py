import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from selfie_localizer.app import predict as module
from selfie_localizer.app.predict import find, predict
from selfie_localizer.errors import UsageError, UserError
from selfie_localizer.serving.locator import CHUNK
from tests.serving.conftest import served, trained  # noqa: F401  (fixtures)
from tests.serving.networks import write_network


def write(path: Path, seed: int, size: tuple[int, int] = (120, 90)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a.jpg", "deep/b.PNG", "deep/er/c.webp")):
        write(tmp_path / "photos" / name, seed)
    (tmp_path / "photos/notes.txt").write_text("no image")
    return tmp_path / "photos"


def rows(paths: list[Path], model: Path, **options: Any) -> list[dict[str, Any]]:
    out = io.StringIO()
    predict([str(path) for path in paths], str(model), "json", out=out, **options)
    return json.loads(out.getvalue())


def test_files_folders_and_patterns_are_found_once(folder: Path) -> None:
    deep = [folder / "deep/b.PNG", folder / "deep/er/c.webp"]
    assert find([str(folder)]) == [folder / "a.jpg", *deep]
    assert find([str(folder / "*.jpg")]) == [folder / "a.jpg"]
    assert find([str(folder / "**/*.webp")]) == [folder / "deep/er/c.webp"]
    assert find([str(deep[0]), str(folder / "deep"), str(folder / "missing.jpg")]) == [*deep, folder / "missing.jpg"]


def test_a_file_whose_name_looks_like_a_pattern_is_taken_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "me[1].jpg", 0)
    assert find([str(path)]) == [path]


def test_a_keras_folder_and_a_served_model_give_the_same_boxes(folder: Path, trained: Path, served: Path) -> None:  # noqa: F811
    first, second = rows([folder], trained, second_look=False), rows([folder], served)
    assert [row["image"] for row in first] == [str(path) for path in find([str(folder)])]
    for one, other in zip(first, second, strict=True):
        assert (one["width"], one["height"], one["error"]) == (120, 90, None)
        assert [one[key] for key in ("x1", "y1", "x2", "y2")] == pytest.approx(
            [other[key] for key in ("x1", "y1", "x2", "y2")], abs=0.2
        )


def test_a_second_look_is_taken_where_it_is_asked_for_or_params_say_so(
    folder: Path,
    trained: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "params.yaml").write_text("serving: {second_look: false}\n")
    plain, asked = (rows([folder], trained, second_look=look) for look in (False, True))
    assert plain != asked
    assert rows([folder], trained) == asked
    assert rows([folder], trained, root=tmp_path) == plain
    assert rows([folder], trained, root=tmp_path, second_look=True) == asked


def test_csv_and_table_show_what_json_does(folder: Path, served: Path) -> None:  # noqa: F811
    expected = rows([folder], served)
    out = io.StringIO()
    predict([str(folder)], str(served), "csv", out=out)
    table = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert [float(row["x1"]) for row in table] == [row["x1"] for row in expected]
    assert {row["error"] for row in table} == {""}
    out = io.StringIO()
    predict([str(folder / "a.jpg")], str(served), out=out)
    head, line = out.getvalue().splitlines()
    assert head.split() == ["image", "x1", "y1", "x2", "y2", "size", "score"]
    box = [f"{expected[0][key]:.1f}" for key in ("x1", "y1", "x2", "y2")]
    assert line.split()[1:] == [*box, "120", "x", "90", f"{expected[0]['score']:.2f}"]


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_bad_files_are_listed_at_the_end_and_the_others_answered(
    folder: Path,
    served: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    form: module.Format,
) -> None:
    (folder / "bad.jpg").write_text("no image")
    with pytest.raises(UserError, match="2 of 5 images could not be used") as caught:
        predict([str(folder), str(folder / "missing.jpg")], str(served), form)
    assert caught.value.exit_code == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-2:] == [
        f"{folder / 'bad.jpg'}: not a JPEG, PNG, WebP or HEIC image",
        f"{folder / 'missing.jpg'}: cannot be read (No such file or directory)",
    ]
    for name in ("a.jpg", "b.PNG", "c.webp", "bad.jpg", "missing.jpg"):
        assert name in captured.out


def test_what_a_folder_holds_beside_photos_is_counted_aloud_and_hidden_files_are_nobody_s(
    folder: Path,
    served: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "._a.jpg").write_bytes(b"\0\x05\x16\x07")
    (folder / "clip.mp4").write_bytes(b"film")
    assert len(rows([folder], served)) == 3
    said = [line for line in capsys.readouterr().err.splitlines() if "passed over" in line]
    assert said == [f"predict: {folder}: 2 files passed over: 1 other, 1 video"]


def test_a_name_that_is_no_text_is_printed_all_the_same(
    folder: Path,
    served: Path,  # noqa: F811
) -> None:
    path = os.fsdecode(bytes(folder) + b"/\xff.jpg")
    shutil.copy(folder / "a.jpg", path)
    for form in ("table", "json", "csv"):
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        predict([path], str(served), form, out=out)
        out.seek(0)
        assert "\ufffd.jpg" in out.read()


def test_boxes_below_the_least_score_are_left_out_and_counted(
    folder: Path,
    served: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = sorted(rows([folder], served), key=lambda row: row["score"])
    middle = (found[0]["score"] + found[1]["score"]) / 2
    kept = rows([folder], served, min_score=middle, draw=tmp_path / "drawn")
    assert {row["image"] for row in kept} == {row["image"] for row in found[1:]}
    assert f"1 of 3 images have a score below {middle:g} and are left out" in capsys.readouterr().err
    assert len([path for path in (tmp_path / "drawn").rglob("*") if path.is_file()]) == 2
    assert rows([folder], served, min_score=1.0) == []


def test_an_image_that_cannot_be_used_is_told_whatever_the_least_score(folder: Path, served: Path) -> None:  # noqa: F811
    (folder / "bad.jpg").write_text("no image")
    out = io.StringIO()
    with pytest.raises(UserError, match="1 of 4 images could not be used"):
        predict([str(folder)], str(served), "json", min_score=1.0, out=out)
    assert [row["error"] for row in json.loads(out.getvalue())] == ["not a JPEG, PNG, WebP or HEIC image"]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "selfie_localizer", "predict", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)


def test_the_command_prints_boxes_alone_and_exits_with_1_for_a_bad_file(folder: Path, served: Path) -> None:  # noqa: F811
    (folder / "bad.jpg").write_text("no image")
    done = run("photos", "--model", str(served), "--format", "json", "--draw", "drawn", cwd=folder.parent)
    assert done.returncode == 1
    assert [row["image"] for row in json.loads(done.stdout)] == [
        f"photos/{name}" for name in ("a.jpg", "bad.jpg", "deep/b.PNG", "deep/er/c.webp")
    ]
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-2:] == [
        "photos/bad.jpg: not a JPEG, PNG, WebP or HEIC image",
        "selfie-localizer: 1 of 4 images could not be used; each is listed above",
    ]
    assert (folder.parent / "drawn/deep/b.PNG").exists()


@pytest.mark.parametrize("arguments", [[], ["a.jpg", "--min-score", "1.5"], ["a.jpg", "--format", "xml"]])
def test_wrong_usage_of_the_command_exits_with_2(arguments: list[str], tmp_path: Path) -> None:
    assert run(*arguments, cwd=tmp_path).returncode == 2


def test_pictures_keep_their_folders_and_show_the_box(folder: Path, served: Path, tmp_path: Path) -> None:  # noqa: F811
    found = rows([folder], served, draw=tmp_path / "drawn")
    drawn = {str(path.relative_to(tmp_path / "drawn")) for path in (tmp_path / "drawn").rglob("*.*")}
    assert drawn == {"a.jpg", "deep/b.PNG", "deep/er/c.webp"}
    picture = cv2.imread(str(tmp_path / "drawn/deep/b.PNG"))
    assert picture.shape == (90, 120, 3)
    x, y = round(found[1]["x1"]), (round(found[1]["y1"]) + round(found[1]["y2"])) // 2
    assert picture[y, x].tolist() == [0, 255, 0]


def test_one_line_says_where_the_pictures_are(
    folder: Path,
    served: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for paths, pictures in (([folder], "3 pictures"), ([folder / "a.jpg"], "1 picture")):
        rows(paths, served, draw=tmp_path / "drawn")
        said = capsys.readouterr().err.splitlines()
        assert said[-1] == f"predict: {pictures} with box and score in {tmp_path / 'drawn'}/"
    rows([folder], served)
    assert "with box and score" not in capsys.readouterr().err


def test_the_score_is_whole_and_legible_wherever_the_box_is_and_whatever_is_behind() -> None:
    inked: set[int] = set()
    for box in ((0, 0, 40, 50), (180, 0, 200, 300), (60, 100, 160, 220), (150, 270, 200, 300), (60, 5, 90, 9)):
        drawn = []
        for shade in (0, 255):
            drawn.append(np.full((300, 200, 3), shade, np.uint8))
            module.draw_box(drawn[-1], box, "0.91")
        hides = (drawn[0] == drawn[1]).all(axis=-1)
        # Where black letters stand on the green.
        inked.add(int((drawn[0][hides].max(axis=-1) < 128).sum()))
    assert len(inked) == 1
    assert inked.pop() > 50


def test_pictures_of_an_earlier_run_are_not_taken_for_images(folder: Path, served: Path) -> None:  # noqa: F811
    for _ in range(2):
        assert len(rows([folder], served, draw=folder / "drawn")) == 3


def test_drawing_never_overwrites_the_images(folder: Path, served: Path) -> None:  # noqa: F811
    before = (folder / "a.jpg").read_bytes()
    for paths in ([folder], [folder / "a.jpg"]):
        with pytest.raises(UsageError, match="would overwrite the images"):
            rows(paths, served, draw=folder)
    assert (folder / "a.jpg").read_bytes() == before


def test_a_folder_without_images_is_wrong_usage(tmp_path: Path, served: Path) -> None:  # noqa: F811
    with pytest.raises(UsageError, match="no JPEG, PNG or WebP image in"):
        rows([tmp_path], served)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, r"there is no champion yet: run `dvc repro` first; .*dvc pull -r sample starter\.dvc"),
        ("starter", r"starter/resnet18\.onnx: .*dvc pull -r sample starter\.dvc"),
        ("models:/selfie-localizer/1", r"selfie-localizer/1: there is no .*mlflow\.db yet; run `dvc repro` first"),
        ("nowhere", "nowhere: no such folder"),
        ("photos", "photos: holds neither a model.keras nor a served model"),
        ("broken", r"broken/model\.keras: cannot be loaded"),
    ],
)
def test_a_model_that_is_not_there_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, model: str | None, message: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(folder.parent)
    Path("dvc.yaml").touch()
    Path("broken").mkdir()
    Path("broken/model.keras").write_bytes(b"no model")
    with pytest.raises(UserError, match=message) as caught:
        predict(["photos"], model)
    assert "\n" not in str(caught.value)
    assert not Path("mlflow.db").exists()


@pytest.mark.parametrize("model", [None, "starter", "models:/selfie-localizer/1"])
def test_outside_of_the_project_one_line_says_to_change_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: str | None
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    with pytest.raises(UsageError) as caught:
        predict([str(folder)], model, root=folder)
    expected = f"{folder}: no model here; change to the project's folder, the one with dvc.yaml"
    assert str(caught.value).startswith(expected)
    assert "champion" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["me.jpg"], "me.jpg: no such file or folder; look at how the path is written"),
        (["me.jpg", "you.jpg", "us.jpg"], "me.jpg and 2 more: no such file or folder; look"),
    ],
)
def test_paths_that_are_not_there_are_one_line(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        predict(names, "nowhere")


def test_one_file_that_is_no_photo_is_one_line(folder: Path, served: Path) -> None:  # noqa: F811
    with pytest.raises(UserError, match=r"notes\.txt: not a JPEG, PNG, WebP or HEIC image$"):
        rows([folder / "notes.txt"], served)


@pytest.fixture
def starter(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Takes a small network for the starter's, whose own weights are no part of the tests."""
    size = json.loads((served / "artifacts/meta.json").read_text())["image_size"]
    monkeypatch.setattr(module.starter_network, "IMAGE_SIZE", size)
    monkeypatch.setattr(module.starter_network, "NETWORK", served / "artifacts/network.onnx")


@pytest.mark.usefixtures("starter")
def test_without_a_champion_the_first_model_answers_and_one_line_says_so(
    folder: Path,
    served: Path,  # noqa: F811
    empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(folder.parent)
    expected = rows([Path("photos")], served, second_look=True)
    for has_database in (False, True):
        if has_database:
            shutil.copy(empty_database, "mlflow.db")
        for model in ("starter", None):
            capsys.readouterr()
            out = io.StringIO()
            predict(["photos"], model, "json", out=out)
            assert json.loads(out.getvalue()) == expected
            said = capsys.readouterr().err
            assert ("there is no champion yet, so the first model answers" in said) == (model is None)


@pytest.mark.parametrize("part", ["network.onnx", "meta.json"])
def test_a_damaged_served_model_is_one_line(folder: Path, served: Path, tmp_path: Path, part: str) -> None:  # noqa: F811
    shutil.copytree(served, tmp_path / "model")
    (tmp_path / "model/artifacts" / part).write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"model: cannot be loaded \(") as caught:
        rows([folder], tmp_path / "model")
    assert "\n" not in str(caught.value)


def test_champion_version_and_run_are_found_in_the_registry(
    folder: Path,
    trained: Path,  # noqa: F811
    tmp_path: Path,
    empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mlflow

    from selfie_localizer.serving import mlflow_model

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "dvc.yaml").touch()
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("selfie-localizer", artifact_location=(tmp_path / "artifacts").as_uri())
    run = client.create_run(experiment).info.run_id
    meta = json.loads((trained / "meta.json").read_text())
    network = write_network(trained / "model.keras", tmp_path / "network")
    info = mlflow_model.log_served(network, meta, run, uri=uri, registered_name="selfie-localizer")

    def ask(model: str | None) -> list[dict[str, Any]]:
        out = io.StringIO()
        predict([str(folder)], model, "json", root=tmp_path, out=out)
        return json.loads(out.getvalue())

    with pytest.raises(UserError, match=r"there is no champion yet: run `dvc repro` first"):
        ask(None)
    client.set_registered_model_alias("selfie-localizer", "champion", info.registered_model_version)
    expected = ask(None)
    assert len(expected) == 3
    # The latter is left to MLflow.
    for name in ("models:/selfie-localizer/1", "models:/selfie-localizer/latest"):
        assert ask(name) == expected

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert ask(f"runs:/{run}/served") == expected
    assert list(temporary.iterdir()) == [], "a copy of the model must go once it is loaded"

    shutil.rmtree(tmp_path / "artifacts")
    with pytest.raises(UserError, match=r"@champion: its files are gone from .*artifacts.*; bring them back, or"):
        ask(None)


def test_a_champion_answers_without_the_import_of_mlflow(crowned: Path, run_python: Callable[..., Any]) -> None:
    script = "import sys; from pathlib import Path; from selfie_localizer.app.predict import predict; "
    script += "predict(sys.argv[2:], form='json', min_score='auto', root=Path(sys.argv[1])); print(*sys.modules)"
    done = run_python(script, str(crowned), str(crowned / "data/images/0.png"))
    answer, modules = done.stdout.strip().rsplit("\n", 1)
    assert len(json.loads(answer)) == 1
    assert not {"mlflow", "sqlalchemy", "pandas", "tensorflow", "keras"} & set(modules.split())


def test_images_are_read_a_chunk_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "0.jpg", 0)
    for index in range(1, 2 * CHUNK + 3):
        shutil.copy(tmp_path / "0.jpg", tmp_path / f"{index}.jpg")
    asked: list[int] = []

    class Counting:
        def locate(self, items: list[Path], read: Any) -> list[dict[str, Any]]:
            asked.append(len(items))
            return [
                dict.fromkeys(("x1", "y1", "x2", "y2", "score"), 0.5) | {"width": 1, "height": 1, "error": None}
            ] * len(items)

    monkeypatch.setattr(module, "load", lambda *_: Counting())
    assert len(rows([tmp_path], tmp_path)) == 2 * CHUNK + 3
    assert asked == [CHUNK, CHUNK, 3]


def test_the_least_score_auto_is_what_evaluate_recommends(
    folder: Path,
    trained: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    model = Path("models/resnet18")
    shutil.copytree(trained, model)
    scores = sorted(row["score"] for row in rows([folder], model))
    meta = json.loads((model / "meta.json").read_text())
    report = {"model_digest": meta["model_digest"], "score": {"threshold": (scores[0] + scores[1]) / 2}}
    Path("reports/evaluation").mkdir(parents=True)
    Path("reports/evaluation/resnet18.json").write_text(json.dumps(report))
    assert sorted(row["score"] for row in rows([folder], model, min_score="auto")) == pytest.approx(scores[1:])
    assert "1 of 3 images have a score below" in capsys.readouterr().err

    # The report is of a model of before.
    Path("reports/evaluation/resnet18.json").write_text(json.dumps(report | {"model_digest": "another"}))
    assert len(rows([folder], model, min_score="auto")) == 3
    assert "no least score is recommended for models/resnet18" in capsys.readouterr().err


def test_the_least_score_of_a_version_is_its_tag(
    crowned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("models:/selfie-localizer@champion", "models:/selfie-localizer/1"):
        assert module.find_model.least_score(name, crowned) == 0.05
    for name in ("models:/selfie-localizer@nobody", "models:/selfie-localizer/7", str(crowned / "data"), "nowhere"):
        assert module.find_model.least_score(name, crowned) is None
    out = io.StringIO()
    predict([str(crowned / "data/images/0.png")], None, "json", min_score="auto", root=crowned, out=out)
    assert len(json.loads(out.getvalue())) == 1


def test_the_command_takes_auto_for_the_least_score(
    folder: Path,
    served: Path,  # noqa: F811
) -> None:
    done = run("photos/a.jpg", "--model", str(served), "--min-score", "auto", cwd=folder.parent)
    assert done.returncode == 0
    assert "no least score is recommended" in done.stderr
