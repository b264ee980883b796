"""What the model answers over HTTP, asked of a real `mlflow models serve` process."""

import base64
import json
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from selfie_localizer import boxes
from selfie_localizer.photos.decode import square
from selfie_localizer.serving.locator import COLUMNS
from tests.serving.pictures import encoded, jpeg, picture

RunPython = Callable[..., CompletedProcess[str]]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def huge_png() -> bytes:
    """A sound PNG of 20,000 x 20,000 black pixels in 50 kB."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(2501) * 20_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


GOOD = text(jpeg(0))
README = Path(__file__).parents[2] / "README.md"


def post(service: str, body: Any) -> requests.Response:
    return requests.post(service, json=body, timeout=60)


def ask(service: str, *texts: Any) -> list[dict[str, Any]]:
    response = post(service, {"dataframe_records": [{"image": item} for item in texts]})
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


def assert_is_answer(row: dict[str, Any]) -> None:
    assert set(row) == set(COLUMNS)
    assert row["error"] is None
    assert row["x1"] < row["x2"]
    assert row["y1"] < row["y2"]
    assert isinstance(row["width"], int)
    assert 0 <= row["score"] <= 1


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "not base64": (lambda: "this is not base64!", "not valid base64"),
    "a data URI": (lambda: "data:image/jpeg;base64," + GOOD, "not valid base64"),
    "base64 with a line break": (lambda: GOOD[:76] + "\n" + GOOD[76:], "not valid base64"),
    "base64 without its padding": (lambda: "QUI", "not valid base64"),
    "text that is not ASCII": (lambda: "ü" * 8, "not valid base64"),
    "null": (lambda: None, "no image"),
    "a number": (lambda: 5, "no image"),
    "empty": (lambda: "", "empty file"),
    "not an image": (lambda: text(b"no picture at all" * 9), "not a JPEG, PNG, WebP or HEIC"),
    "an SVG": (lambda: text(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), "not a JPEG"),
    "a GIF": (lambda: text(encoded(Image.fromarray(picture(0)), "GIF")), "not a JPEG, PNG, WebP or HEIC"),
    "a truncated JPEG": (lambda: text(jpeg(0)[:-900]), "truncated"),
    "a header alone": (lambda: text(jpeg(0)[:12]), ""),
    "20,000 x 20,000 pixels": (lambda: text(huge_png()), "more than photos.max_pixels allows"),
    "a body of 50 MB": (lambda: "A" * 50_000_000, "not a JPEG, PNG, WebP or HEIC"),
    "more bytes than an image may have": (lambda: "A" * 70_000_004, "characters, more than an image of 52,428,800"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_image_costs_its_own_row_an_error_and_nothing_else(service: str, case: str) -> None:
    make, reason = REFUSED[case]
    before, bad, after = ask(service, GOOD, make(), text(jpeg(1)))
    assert_is_answer(before)
    assert_is_answer(after)
    assert bad["error"]
    assert reason in bad["error"]
    assert all(bad[key] is None for key in COLUMNS if key != "error")
    assert_is_answer(ask(service, GOOD)[0])


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(picture(0)), "JPEG", exif=exif)


ODD: dict[str, tuple[Callable[[], bytes], tuple[int, int]]] = {
    "1 x 1": (lambda: encoded(Image.new("RGB", (1, 1))), (1, 1)),
    "EXIF-rotated": (rotated, (230, 306)),
    "CMYK": (lambda: encoded(Image.fromarray(picture(0)).convert("CMYK"), "JPEG"), (306, 230)),
    "16-bit": (lambda: encoded(Image.fromarray(picture(0)[..., 0].astype(np.uint16) * 257)), (306, 230)),
    "with alpha": (lambda: encoded(Image.fromarray(picture(0)).convert("RGBA")), (306, 230)),
    "grey": (lambda: encoded(Image.fromarray(picture(0)).convert("L")), (306, 230)),
    "animated": (
        lambda: encoded(
            Image.fromarray(picture(0)), "WEBP", save_all=True, append_images=[Image.fromarray(picture(1))], duration=9
        ),
        (306, 230),
    ),
    "without any face": (lambda: encoded(Image.new("RGB", (306, 230), "navy"), "WEBP"), (306, 230)),
}


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_readmes_request_takes_a_photo_of_a_phones_size(service: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1200, 3), np.uint8)
    photo = encoded(Image.fromarray(noise), "JPEG", quality=95)
    assert len(photo) > 2_000_000
    (tmp_path / "me.jpg").write_bytes(photo)
    (block,) = re.findall(r"^mlflow models serve .*\n([\s\S]+?)^```", README.read_text(), re.MULTILINE)
    command = block.replace("http://127.0.0.1:5001/invocations", service)
    assert command != block
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    (answer,) = json.loads(done.stdout)["predictions"]
    assert (answer["width"], answer["height"], answer["error"]) == (1200, 1500, None)


@pytest.mark.parametrize("case", ODD)
def test_an_odd_image_gets_a_box_in_its_displayed_pixels(service: str, case: str) -> None:
    make, size = ODD[case]
    row = ask(service, text(make()))[0]
    assert_is_answer(row)
    assert (row["width"], row["height"]) == size


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"image": GOOD}]},
        {"dataframe_split": {"columns": ["image"], "data": [[GOOD]]}},
        {"inputs": {"image": [GOOD]}},
        {"inputs": [{"image": GOOD}]},
        {"inputs": [GOOD]},
        {"dataframe_records": [{"image": GOOD, "extra": 1}]},
    ],
    ids=["records", "split", "inputs by column", "inputs by row", "inputs as a list", "extra column"],
)
def test_every_form_of_request_gets_the_same_answer(service: str, body: Any) -> None:
    response = post(service, body)
    assert response.status_code == 200
    assert response.json()["predictions"] == ask(service, GOOD)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"json": {"dataframe_records": [{"picture": GOOD}]}}, 400),
        ({"headers": {"Content-Type": "application/json"}}, 400),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": GOOD, "headers": {"Content-Type": "image/jpeg"}}, 415),
    ],
    ids=["wrong column", "missing body", "broken JSON", "wrong content type"],
)
def test_a_request_that_cannot_be_read_is_refused_and_the_server_lives_on(
    service: str, options: dict[str, Any], status: int
) -> None:
    assert requests.post(service, timeout=60, **options).status_code == status
    assert_is_answer(ask(service, GOOD)[0])


def test_a_thousand_images_at_once_are_answered_in_order(service: str) -> None:
    small = [text(encoded(Image.fromarray(picture(seed, 20 + seed, 30)))) for seed in range(10)]
    rows = ask(service, *(small * 100))
    assert [row["width"] for row in rows] == [20 + seed for seed in range(10)] * 100
    assert_is_answer(ask(service, GOOD)[0])


def test_no_images_get_no_answers(service: str) -> None:
    response = post(service, {"dataframe_split": {"columns": ["image"], "data": []}})
    assert response.json() == {"predictions": []}


LOAD = """
import json, sys
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
import selfie_localizer
texts = json.load(open(sys.argv[2]))
rows = {}
for size in (1, 7, 32):
    chunks = [texts[start : start + size] for start in range(0, len(texts), size)]
    rows[size] = [row for chunk in chunks for row in model.predict(pd.DataFrame({"image": chunk})).to_dict("records")]
heavy = [name for name in ("tensorflow", "keras", "keras_hub", "onnx", "dvc") if name in sys.modules]
print(json.dumps({"code": selfie_localizer.__file__, "rows": rows, "heavy": heavy}))
"""


def test_keras_pyfunc_and_http_agree_at_any_batch_size(
    service: str, trained: Path, served: Path, tmp_path: Path, run_python: RunPython
) -> None:
    import keras

    data = [jpeg(seed) for seed in range(39)]
    pixels = np.stack([square(item, 64)[0] for item in data])
    output = np.asarray(keras.models.load_model(trained / "model.keras", compile=False).predict_on_batch(pixels))
    expected = boxes.scale(output[:, :4], 306, 230)
    assert np.ptp(expected, axis=0).min() > 5, "the network must not say the same of every image"

    def of(rows: list[dict[str, Any]]) -> np.ndarray:
        return np.array([[row[key] for key in COLUMNS[:4]] for row in rows], dtype=float)

    texts = [text(item) for item in data]
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    done = run_python(LOAD, str(served), str(tmp_path / "texts.json"))
    assert done.returncode == 0, done.stderr
    alone = json.loads(done.stdout.splitlines()[-1])
    assert Path(alone["code"]).is_relative_to(served), "the model must bring its own code"
    assert alone["heavy"] == [], "serving must not need the training's libraries"
    for size in (1, 7, 32):
        np.testing.assert_allclose(of(alone["rows"][str(size)]), expected, atol=0.5)
        rows = [row for start in range(0, len(texts), size) for row in ask(service, *texts[start : start + size])]
        np.testing.assert_allclose(of(rows), expected, atol=0.5)
