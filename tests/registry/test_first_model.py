"""Where no candidate passes and there is no champion, the first model is registered and serves."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from selfie_localizer.app import predict
from selfie_localizer.network import starter_network
from selfie_localizer.photos.decode import read_bytes
from selfie_localizer.registry import status
from selfie_localizer.registry.promote import promote
from selfie_localizer.registry.rollback import rollback
from selfie_localizer.registry.versions import NAME
from selfie_localizer.serving import pinned
from tests.registry import blobs
from tests.registry.test_promote import BETTER, get_alias, get_client, get_tags, get_versions, try_model
from tests.serving.networks import write_network

POOR = {"dark": 0.6, "normal": 0.6}
FIRST_IOU = 0.85**2


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Starter weights whose boxes have 0.85 times the right side."""
    root = tmp_path_factory.mktemp("starter")
    blobs.make_model(root, dark=0.85, normal=0.85)
    return write_network(root / "models/blob/model.keras", root)


@pytest.fixture
def fresh(blank: Path, starter: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with starter weights and nothing in its registry."""
    monkeypatch.setattr(starter_network, "IMAGE_SIZE", blobs.SIZE)
    (blank / starter_network.NETWORK).parent.mkdir()
    (blank / starter_network.NETWORK).write_bytes(starter.read_bytes())
    return blank


def test_where_the_candidate_fails_the_first_model_is_champion_and_says_what_it_is(
    fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = try_model(fresh, **POOR)
    assert (report["decision"], report["version"], report["champion"]) == ("rejected", "1", "2")
    assert (get_alias(fresh), get_alias(fresh, "challenger")) == ("2", "1")
    tags = get_tags(fresh, "2")
    assert (tags["backbone"], tags["first_model"], tags["approved"]) == ("first-model", "true", "true")
    assert (tags["form"], tags["second_look"]) == ("onnx", "false")
    assert (tags["judge"], tags["judge_images"]) == ("truth", "80")
    assert float(tags["test_iou"]) == pytest.approx(FIRST_IOU, abs=1e-3)
    assert tags["test_split"] == get_tags(fresh, "1")["test_split"]
    assert "data_hash" not in tags
    assert get_client(fresh).get_model_version(NAME, "2").description.startswith("The first model: the starter weights")
    said = capsys.readouterr().err
    assert "version 2, the first model, is the champion until a candidate passes; test IoU 0.72" in said
    assert "version 1 (blob) is rejected, version 2 stays champion" in said


def test_a_second_promotion_changes_nothing(fresh: Path) -> None:
    try_model(fresh, **POOR)
    before = (fresh / "reports/promotion.json").read_bytes()
    changed = [get_client(fresh).get_model_version(NAME, version).last_updated_timestamp for version in ("1", "2")]
    promote(blobs.make_settings(), fresh)
    assert (fresh / "reports/promotion.json").read_bytes() == before
    assert get_versions(fresh) == ["1", "2"]
    assert changed == [get_client(fresh).get_model_version(NAME, version).last_updated_timestamp for version in "12"]


def test_where_the_candidate_passes_the_first_model_is_not_registered(fresh: Path) -> None:
    assert try_model(fresh, **BETTER)["champion"] == "1"
    assert get_versions(fresh) == ["1"]


def test_later_candidates_are_held_against_it_and_rollback_goes_back_to_it(fresh: Path) -> None:
    try_model(fresh, **POOR)
    report = try_model(fresh, dark=0.84, normal=0.84)
    assert report["decision"] == "rejected"
    assert report["verdict"]["gates"]["better"]["champion_iou"] == pytest.approx(FIRST_IOU, abs=1e-3)
    report = try_model(fresh, **BETTER)
    assert (report["decision"], report["champion"], report["previous_champions"]) == ("champion", "4", ["2"])
    rollback(root=fresh)
    assert get_alias(fresh) == "2"
    promote(blobs.make_settings(), fresh)
    assert get_alias(fresh) == "2"


def test_status_and_predict_know_it(fresh: Path) -> None:
    try_model(fresh, **POOR)
    assert status.collect(fresh)["champion"]["backbone"] == "first-model"
    assert "first-model" in status.table(fresh)
    (row,) = predict.load(None, fresh).locate([fresh / "data/images/0.png"], read_bytes)
    (expected,) = predict.load("starter", fresh, second_look=False).locate([fresh / "data/images/0.png"], read_bytes)
    assert row == expected
    assert row["error"] is None


def test_it_was_trained_on_none_of_the_images_here(fresh: Path) -> None:
    try_model(fresh, **POOR)
    assert pinned.version(f"models:/{NAME}/2", fresh).trained_on == frozenset()


def test_it_is_served_with_a_second_look_where_serving_says_so(fresh: Path) -> None:
    settings = blobs.make_settings()
    serving = blobs.FLOAT32.model_copy(update={"second_look": True})
    blobs.make_model(fresh, **POOR)
    blobs.evaluate(fresh, serving=serving)
    promote(settings.model_copy(update={"serving": serving}), fresh)
    assert get_tags(fresh, "2")["second_look"] == "true"


def test_without_starter_weights_there_is_no_champion_and_a_line_says_what_to_do(
    blank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert try_model(blank, **POOR)["champion"] is None
    assert "no first model here either; fetch it by `dvc pull -r sample starter.dvc`" in capsys.readouterr().err


def test_starter_weights_that_do_not_answer_are_not_made_champion(
    fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (fresh / starter_network.NETWORK).write_bytes(b"damaged")
    assert try_model(fresh, **POOR)["champion"] is None
    assert get_alias(fresh) is None
    assert "the first model, does not answer and cannot be champion" in capsys.readouterr().err


def test_inside_an_experiment_nothing_is_made_champion(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "fishy-bats")
    assert try_model(fresh, **POOR)["champion"] is None
    assert get_versions(fresh) == ["1"]


class Killed(BaseException):
    """What a test raises in place of the end of the process."""


@pytest.mark.parametrize("step", ["register", "update_model_version", "approve"])
def test_killed_before_it_is_champion_and_repeated_it_is_registered_once(
    fresh: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from selfie_localizer.registry.versions import Registry

    owner = mlflow.MlflowClient if step == "update_model_version" else Registry
    real: Callable[..., object] = getattr(owner, step)
    # The candidate is registered first.
    left = [2 if step == "register" else 1]

    def killing(*arguments: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killing)
        with pytest.raises(Killed):
            try_model(fresh, **POOR)
    assert get_alias(fresh) is None
    promote(blobs.make_settings(), fresh)
    assert get_alias(fresh) == "2"
    assert get_versions(fresh) == ["1", "2"]


def test_all_this_needs_no_tensorflow_and_registers_the_evaluated_file_as_it_is(
    fresh: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    blobs.make_model(fresh, **POOR)
    blobs.evaluate(fresh)
    script = (
        "import os, sys; os.chdir(sys.argv[1]); from selfie_localizer.cli import main\n"
        "from selfie_localizer.network import starter_network; starter_network.IMAGE_SIZE = int(sys.argv[2])\n"
        "main(['promote'])\n"
        "print(*{'tensorflow', 'keras', 'keras_hub', 'matplotlib'} & set(sys.modules))"
    )
    done = run_python(script, str(fresh), str(blobs.SIZE))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
    assert get_alias(fresh) == "2"
    for version, scored in (("1", "build/served/blob/network.onnx"), ("2", starter_network.NETWORK)):
        files = Path(get_client(fresh).get_model_version_download_uri(NAME, version).removeprefix("file://"))
        assert (files / "artifacts/network.onnx").read_bytes() == (fresh / scored).read_bytes()
