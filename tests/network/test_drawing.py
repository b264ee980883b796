"""The drawing of the architecture."""

import pytest
from PIL import Image

from selfie_localizer import params
from selfie_localizer.network import drawing, localizer

TINY = params.Backbone(
    architecture="VGGBackbone",
    arguments={"stackwise_num_repeats": (1, 1, 1, 1, 1), "stackwise_num_filters": (8, 8, 16, 16, 16)},
)


@pytest.mark.parametrize("vectorizer", ["attention", "gap", "flatten"])
def test_every_layer_with_weights_stands_in_the_drawing_once(vectorizer):
    model = localizer.build(TINY, params.Network(vectorizer=vectorizer, head_width=8, neck="conv"), 96)
    blocks = drawing.rows(model)
    assert list(blocks) == ["image", "normalise", "backbone", "neck", "vectorizer", "head", "box"]
    rows = [row for lines in blocks.values() for row in lines]
    assert len(rows) == len(model.layers)
    assert sum(int(row.weights.split()[0].replace(",", "")) for row in rows if row.weights) == model.count_params()
    assert blocks["image"][0].shape == "96 x 96 x 3"
    # The shapes of this image size, not those the backbone was built with.
    assert blocks["backbone"][0].shape == ("6 x 6 x 16   3 x 3 x 16" if vectorizer == "attention" else "3 x 3 x 16")
    assert blocks["box"][0].text == "x1, y1, x2, y2, score"


def test_drawing_is_a_png_that_grows_with_the_network(tmp_path):
    heights = []
    for vectorizer in ("gap", "attention"):
        model = localizer.build(TINY, params.Network(vectorizer=vectorizer, head_width=8), None)
        path = drawing.draw(model, tmp_path / f"{vectorizer}.png", "tiny")
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert len(picture.convert("RGB").getcolors(maxcolors=10**6)) > 5
            heights.append(picture.height)
    assert heights[0] < heights[1]
