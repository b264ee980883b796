"""What evaluate writes to be served: once for each model, whole or not at all, and known by its digest."""

import json
from pathlib import Path

import pytest

from selfie_localizer import params
from selfie_localizer.dataset.store import FIT, open_store
from selfie_localizer.errors import UserError
from selfie_localizer.serving import served_network
from selfie_localizer.serving.served_network import SERVED, ServedNetwork
from tests.registry import blobs


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", "")
    monkeypatch.delenv("DVC_ROOT")
    blobs.make_project(tmp_path, test=4)
    blobs.make_model(tmp_path, dark=0.9, normal=0.8)
    return tmp_path


def write(root: Path, serving: params.Serving = blobs.FLOAT32) -> ServedNetwork:
    digests = {"blob": blobs.read_digest(root)}
    return served_network.write_all(digests, serving, open_store(root / FIT), root)["blob"]


def test_the_network_lies_there_with_what_is_to_be_known_of_it(root: Path) -> None:
    made = write(root)
    assert made.path == root / SERVED / "blob/network.onnx"
    assert (made.form, made.model_digest) == ("onnx", blobs.read_digest(root))
    assert made.shift_px < 0.01
    assert made.load()(open_store(root / FIT).images[:2]).shape == (2, 5)
    assert served_network.read("blob", made.model_digest, root) == made
    assert sorted(path.name for path in made.folder.iterdir()) == ["network.onnx", "served.json"]


def test_of_the_same_model_it_is_taken_over_and_nothing_is_converted(root: Path) -> None:
    before = write(root).path.read_bytes()
    # What reads it would fail now.
    (root / "models/blob/model.keras").write_bytes(b"damaged")
    assert write(root).path.read_bytes() == before
    with pytest.raises(UserError, match=r"model\.keras: cannot be loaded"):
        write(root, params.Serving(form="litert_int8"))


@pytest.mark.parametrize("change", ["model", "form", "cache"])
def test_of_another_model_in_another_form_or_of_a_damaged_cache_it_is_made_anew(root: Path, change: str) -> None:
    before, serving = write(root), blobs.FLOAT32
    if change == "model":
        blobs.make_model(root, dark=0.7, normal=0.7)
    elif change == "form":
        serving = params.Serving(form="litert_int8")
    else:
        (kept,) = (root / ".cache/served/blob").glob("*/network.onnx")
        kept.write_bytes(b"damaged")
    after = write(root, serving)
    # The converter's bytes are not the same each time.
    assert after.sha256 != before.sha256
    assert (after.model_digest, after.form) == (blobs.read_digest(root), serving.form)
    assert len(list((root / ".cache/served/blob").iterdir())) == 1
    assert after.load()(open_store(root / FIT).images[:2]).shape == (2, 5)


@pytest.mark.parametrize("harm", ["no file", "another file", "no note", "another model"])
def test_what_is_not_whole_or_of_another_model_is_refused_in_one_line(root: Path, harm: str) -> None:
    made = write(root)
    note = made.folder / "served.json"
    if harm == "no file":
        made.path.unlink()
    elif harm == "another file":
        made.path.write_bytes(b"other")
    elif harm == "no note":
        note.unlink()
    else:
        note.write_text(json.dumps(json.loads(note.read_text()) | {"model_digest": "other"}))
    with pytest.raises(UserError, match=r"build/served/blob: missing, damaged, or .*; run `dvc repro evaluate` first"):
        served_network.read("blob", made.model_digest, root)


def test_where_one_model_fails_what_was_there_before_stays(root: Path) -> None:
    made = write(root)
    digests = {"blob": made.model_digest, "gone": "0" * 64}
    with pytest.raises(UserError, match=r"gone/model\.keras: missing; run `dvc repro train@gone` first"):
        served_network.write_all(digests, blobs.FLOAT32, open_store(root / FIT), root)
    assert served_network.read("blob", made.model_digest, root) == made
    assert [path.name for path in (root / SERVED).iterdir()] == ["blob"]
