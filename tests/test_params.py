"""`params.yaml` is refused with one line that names the key, what was given and what is allowed."""

from dataclasses import asdict
from pathlib import Path

import pytest
from pydantic import ValidationError

from selfie_localizer import params
from selfie_localizer.errors import UsageError
from selfie_localizer.photos.limits import Limits

PROJECT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"trian": {}}, ["unknown key trian", "train"]),
        ({"prepare": {"size": 1}}, ["unknown key prepare.size", "image_size"]),
        ({"prepare": {"image_size": "big"}}, ["prepare.image_size", "'big'", "integer"]),
        ({"prepare": {"image_size": 8}}, ["prepare.image_size", "8", "32"]),
        ({"network": {"vectorizer": "gap"}}, ["vectorizer is gap", "train.dense_boxes and train.dense_attention to 0"]),
        ({"prepare": {"image_size": 128.5}}, ["prepare.image_size", "128.5"]),
        (
            {"annotate": {"annotators": {"haar": {"cascades": ["foo"]}}}},
            ["annotators.haar.cascades", "'foo'", "'alt2'"],
        ),
        ({"annotate": {"annotators": {"haar": {"scale_factor": True}}}}, ["haar.scale_factor", "True", "number"]),
        (
            {"annotate": {"annotators": {"haar": {"method": 1}}}},
            ["unknown key annotate.annotators.haar.method", "verify"],
        ),
        ({"annotate": {"annotators": {"yunet": {}}}}, ["annotate.annotators.yunet.model", "required"]),
        ({"annotate": {"annotators": {"retina": {}}}}, ["unknown annotator", "retina", "haar, mtcnn, starter, yunet"]),
        ({"annotate": {"annotators": {}}}, ["annotate.annotators", "at least 1"]),
        ({"annotate": {"annotators": ["haar"]}}, ["annotate.annotators", "dictionary"]),
        (
            {"annotate": {"method": "haar", "model": ""}},
            ["annotate.method is gone", "annotators: {haar", "CHANGELOG.md"],
        ),
        ({"annotate": {"annotators": {"models:/faces@champion": {}}}}, ["by its number", "an alias moves"]),
        ({"annotate": {"annotators": {"models:/faces": {}}}}, ["not a version of the registry by its number"]),
        ({"annotate": {"annotators": {"models:/faces/3": {"least": 1}}}}, ["unknown key", "models:/faces/3.least"]),
        ({"review": {"model": "starter"}}, ["review is gone", "annotators: {haar", "CHANGELOG.md"]),
        ({"photos": {"max_scans": 0}}, ["photos.max_scans", "0", "1"]),
        ({"annotate": None}, ["annotate", "None"]),
        ({"validate": {"max_rejected": 1.2}}, ["validate.max_rejected", "1.2", "1"]),
        ({"validate": {"smallest_face": 0.9, "largest_face": 0.5}}, ["smallest_face must be below largest_face"]),
        ({"backbones": {"mine": {}}}, ["backbones.mine", "architecture"]),
        ({"backbones": {"mine": {"weights": "none", "foo": 1}}}, ["unknown key backbones.mine.foo", "architecture"]),
        ({"tune": {"space": {"train.learning_rate": {"low": 1.0}}}}, ["tune.space.train.learning_rate", "choices"]),
        ({"tune": {"space": {"train.speed": {"choices": [1]}}}}, ["train.speed", "learning_rate"]),
        ([1], ["the file", "[1]"]),
    ],
)
def test_a_bad_parameter_is_one_line_that_names_it(content: object, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        params.parse(content)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert caught.value.exit_code == 2


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run this in the project's folder"):
        params.load(tmp_path / "params.yaml")


def test_a_file_that_is_not_yaml_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 1\nprepare: [1\n")
    with pytest.raises(UsageError, match=r"line \d.*not valid YAML"):
        params.load(tmp_path / "params.yaml")


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 1\nseed: 2\n")
    with pytest.raises(UsageError, match="not valid YAML"):
        params.load(tmp_path / "params.yaml")


def test_exponents_without_a_point_are_numbers_as_dvc_writes_them(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("train: {learning_rate: 1e-4}\n")
    assert params.load(tmp_path / "params.yaml").train.learning_rate == 1e-4


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("")
    assert params.load(tmp_path / "params.yaml") == params.Params()


def test_parameters_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        params.Params().prepare.image_size = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "path", [PROJECT / "params.yaml", *sorted((PROJECT / "profiles").glob("*.yaml"))], ids=lambda p: p.stem
)
def test_every_file_of_the_project_is_valid_and_writes_out_every_key(path: Path) -> None:
    given = params.load(path).model_dump(by_alias=True, exclude_unset=True)
    whole = params.load(path).model_dump(by_alias=True)
    for section, content in whole.items():
        if section not in ("backbones", "tune"):
            assert given[section] == content, section


def test_the_limits_of_photos_are_those_of_the_decoder() -> None:
    assert params.Photos().model_dump() == asdict(Limits())


def test_an_annotator_without_parameters_has_its_defaults() -> None:
    chosen = params.parse(
        {"annotate": {"annotators": {"starter": None, "haar": {"neighbours": 5}}}}
    ).annotate.annotators
    assert chosen == {"starter": params.Starter(), "haar": params.Haar(neighbours=5)}
    assert list(chosen) == ["starter", "haar"]


def test_dotted_names_replace_single_values() -> None:
    changed = params.replace(params.Params(), {"train.learning_rate": 0.5, "network.head_width": 16})
    assert (changed.train.learning_rate, changed.network.head_width) == (0.5, 16)
    assert changed.prepare == params.Params().prepare
    assert changed.annotate == params.Params().annotate
