"""What starter weights are learned from: the everyday look, never that of a sample."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from selfie_localizer.photos.decode import square
from selfie_renderer import looks, render

TOOLS = Path(__file__).parents[1] / "tools"


def test_starter_weights_never_see_the_camera_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import make_starter

    pixels = [image for image, _ in make_starter._rendered(1, 1000, 64, range(2))]
    for look in looks.LOOKS:
        rendered = (
            render.render_image(1000, 0, make_starter.LONG_SIDE, look)[0],
            render.render_scene(1000, 0, make_starter.LONG_SIDE, look),
        )
        for index, image in enumerate(rendered):
            quality = int(np.random.default_rng([1000, index, 2]).integers(25, 95))
            data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
            assert np.array_equal(square(data, 64)[0], pixels[index]) == (look == "everyday")


def test_making_starter_weights_has_no_option_for_a_look() -> None:
    ran = subprocess.run(
        [sys.executable, TOOLS / "make_starter.py", "--look", "evening"], capture_output=True, text=True
    )
    assert ran.returncode == 2
    assert "unrecognized arguments: --look evening" in ran.stderr
