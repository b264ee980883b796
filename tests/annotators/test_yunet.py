"""YuNet's wiring, run by OpenCV on a network of its form that takes a bright red square for a face."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from selfie_localizer import params
from selfie_localizer.annotators.annotate import annotate
from selfie_localizer.annotators.yunet import Yunet
from selfie_localizer.errors import UserError
from tests.faces import encode, write_image


def field(number: int, value: int | str | bytes) -> bytes:
    """Encodes a field of a protocol buffer, the format of ONNX."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def node(kind: str, inputs: list[str], output: str, **attributes: list[int]) -> bytes:
    lists = [
        field(1, name) + b"".join(field(8, value) for value in values) + field(20, 7)
        for name, values in attributes.items()
    ]
    names = b"".join(field(1, name) for name in inputs)
    return field(1, names + field(2, output) + field(4, kind) + b"".join(field(5, one) for one in lists))


def tensor(name: str, shape: list[int], values: list[float]) -> bytes:
    dims = b"".join(field(1, side) for side in shape)
    return field(5, dims + field(2, 1) + field(8, name) + field(9, struct.pack(f"<{len(values)}f", *values)))


def describe(number: int, name: str, shape: list[int]) -> bytes:
    dims = b"".join(field(1, field(1, side)) for side in shape)
    return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, dims))))


def red_square_network(outputs: tuple[str, ...] = ("cls", "obj", "bbox", "kps")) -> bytes:
    """Returns an ONNX file: each cell of 32 pixels whose mean is bright red has a box of 48 x 64 around its middle."""
    graph, described = b"", describe(11, "input", [1, 3, 640, 640])
    for stride in (8, 16, 32):
        mean = f"mean_{stride}"
        graph += node("AveragePool", ["input"], mean, kernel_shape=[stride] * 2, strides=[stride] * 2)
        # The channels are blue, green and red.
        red = [-0.2, -0.2, 0.2] if stride == 32 else [0.0] * 3
        layers = {
            "cls": (red, [-20.0]),
            "obj": (red, [-20.0]),
            "bbox": ([0.0] * 12, [0.5, 0.5, float(np.log(1.5)), float(np.log(2))]),
            "kps": ([0.0] * 30, [0.0] * 10),
        }
        for kind in outputs:
            weights, bias = layers[kind]
            name, count = f"{kind}_{stride}", len(bias)
            graph += tensor(f"{name}_w", [count, 3, 1, 1], weights) + tensor(f"{name}_b", [count], bias)
            graph += node("Conv", [mean, f"{name}_w", f"{name}_b"], f"{name}_c", kernel_shape=[1, 1])
            if count == 1:
                graph += node("Sigmoid", [f"{name}_c"], name)
            else:
                graph += node("Transpose", [f"{name}_c"], name, perm=[0, 2, 3, 1])
            described += describe(12, name, [1, 640 // stride, 640 // stride, count])
    return field(1, 8) + field(7, graph + field(2, "red") + described) + field(8, field(1, "") + field(2, 11))


def red_square(width: int, height: int, *cells: tuple[int, int], side: int = 32) -> np.ndarray:
    image = np.full((height, width, 3), 90, np.uint8)
    for column, row in cells:
        image[row * side : (row + 1) * side, column * side : (column + 1) * side] = (255, 0, 0)
    return image


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "red.onnx").write_bytes(red_square_network())
    return tmp_path / "red.onnx"


def make(model: Path, **parameters: float) -> Yunet:
    return Yunet("yunet", params.Yunet(model=model.name, **parameters), model.parent)


def test_a_face_is_found_where_the_network_sees_it(model: Path) -> None:
    found = make(model).locate(red_square(300, 230, (3, 2)))
    assert found is not None
    np.testing.assert_allclose(found[0], [88, 48, 136, 112], atol=1)
    assert 0.9 < found[1] <= 1


def test_without_a_confident_hit_there_is_no_face(model: Path) -> None:
    assert make(model).locate(red_square(300, 230)) is None
    faint = red_square(300, 230, (3, 2)) // 3
    assert make(model).locate(faint) is None
    assert make(model, confidence=0.001).locate(faint) is not None


def test_a_large_image_is_searched_smaller_and_its_box_scaled_back_and_cut(model: Path) -> None:
    found = make(model).locate(red_square(2560, 1280, (0, 3), side=128))
    assert found is not None
    np.testing.assert_allclose(found[0], [0, 320, 160, 576], atol=4)


def test_a_face_smaller_than_asked_for_is_passed_over(model: Path) -> None:
    image = red_square(300, 230, (3, 2))
    assert make(model, smallest_face=0.27).locate(image) is not None
    assert make(model, smallest_face=0.29).locate(image) is None


def test_another_model_is_another_version(model: Path) -> None:
    before = make(model).version()
    assert make(model).version() == before
    model.write_bytes(red_square_network() + b"\0")
    assert make(model).version() != before


def test_annotate_gives_the_same_bytes_for_any_number_of_workers(model: Path) -> None:
    root = model.parent
    for index in range(70):
        cells = [(index % 7, index % 5)] if index % 3 else []
        write_image(root, f"{index:03d}.png", encode(red_square(300, 230, *cells), "PNG"))
    written = []
    for workers in (1, 2):
        shutil.rmtree(root / ".cache", ignore_errors=True)
        annotate(params.Annotate(annotators={"yunet": params.Yunet(model="red.onnx")}), workers, root)
        written.append([(root / name).read_bytes() for name in ("build/annotations.csv", "reports/annotate.json")])
    assert written[0] == written[1]
    assert b",yunet,24.00,16.00,72.00,80.00,1.0000,300,230" in written[0][0]
    assert b'"found": 46' in written[0][1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read (No such file"),
        (b"", "not an ONNX model"),
        (b"<html>404</html>", "not an ONNX model"),
        (red_square_network()[:900], "not an ONNX model"),
        (red_square_network(("cls", "obj")), "not a YuNet model"),
    ],
)
def test_a_missing_or_wrong_model_is_one_line(tmp_path: Path, content: bytes | None, reason: str) -> None:
    write_image(tmp_path, "a.png", encode(red_square(300, 230, (3, 2)), "PNG"))
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(UserError) as error:
        annotate(params.Annotate(annotators={"yunet": params.Yunet(model="model.onnx")}), 1, tmp_path)
    message = str(error.value)
    assert reason in message
    assert "model.onnx" in message
    assert "annotate.annotators.yunet.model" in message
    assert "\n" not in message
    assert not (tmp_path / "build").exists()
