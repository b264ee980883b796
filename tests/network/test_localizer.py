"""The whole network: what it takes and returns, what it promises of its boxes, and that it survives saving."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfie_localizer import params
from selfie_localizer.errors import UsageError
from selfie_localizer.network import localizer
from selfie_localizer.network.layers import AttentionBox, CentreSizeBox, ResizeLike
from selfie_localizer.network.losses import LocalizerLoss
from selfie_localizer.network.metrics import MeanIoU

# Five convolutions and as many poolings: strides 16 and 32 as in VGG16, and quick to compile.
TINY = params.Backbone(
    architecture="VGGBackbone",
    arguments={"stackwise_num_repeats": (1, 1, 1, 1, 1), "stackwise_num_filters": (8, 8, 16, 16, 16)},
)
VECTORIZERS = ("attention", "gap", "flatten")


def build(vectorizer="attention", size: int | None = 64, **network):
    keras.utils.set_random_seed(0)
    return localizer.build(TINY, params.Network(vectorizer=vectorizer, head_width=8, **network), size)


def images(count=2, height=64, width=64):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype="uint8")


@pytest.fixture
def bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("vectorizer", VECTORIZERS)
def test_pixels_in_box_and_score_out(vectorizer):
    model = build(vectorizer)
    assert model.input_shape == (None, 64, 64, 3)
    assert model.input.dtype == "uint8"
    output = model(images())
    assert output.shape == (2, 5)
    assert output.dtype == tf.float32


@pytest.mark.parametrize("vectorizer", VECTORIZERS)
def test_training_starts_from_a_box_in_the_middle(vectorizer):
    output = build(vectorizer)(images(4), training=True).numpy()
    np.testing.assert_allclose(output[:, :4], [[0.28, 0.28, 0.72, 0.72]] * 4, atol=0.08)
    assert ((output[:, 4] > 0.05) & (output[:, 4] < 0.95)).all()


@pytest.mark.parametrize("vectorizer", VECTORIZERS)
def test_boxes_are_in_order_whatever_the_weights(vectorizer):
    model = build(vectorizer)
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if layer.name.startswith("head"):
            layer.set_weights([rng.normal(0, 10, w.shape) for w in layer.get_weights()])
    output = model(images(16)).numpy()
    assert np.isfinite(output).all()
    assert (output[:, :2] <= output[:, 2:4]).all()
    assert ((output[:, 4] >= 0) & (output[:, 4] <= 1)).all()
    assert np.ptp(output[:, :4], axis=0).max() > 0.1


@pytest.mark.parametrize("vectorizer", VECTORIZERS)
def test_every_weight_that_training_changes_has_a_finite_gradient(vectorizer):
    model = build(vectorizer)
    truth = tf.constant([[0.1, 0.2, 0.5, 0.9], [0.6, 0.6, 0.9, 0.8]])
    with tf.GradientTape() as tape:
        cost = LocalizerLoss()(truth, model(images(), training=True))
    weights = [variable.value for variable in model.trainable_variables]
    for variable, gradient in zip(model.trainable_variables, tape.gradient(cost, weights), strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient.numpy()).all(), variable.path
        # A bias of all logits shifts none of the weights.
        assert variable.path == "head_attention/bias" or np.abs(gradient.numpy()).max() > 0, variable.path


@pytest.mark.parametrize("vectorizer", ["attention", "gap"])
def test_training_learns_a_handful_of_images_by_heart(vectorizer):
    model = build(vectorizer, size=32)
    model.compile(keras.optimizers.Adam(3e-3), LocalizerLoss(), metrics=[MeanIoU()], jit_compile=False)
    truth = np.array(
        [[0.1, 0.1, 0.4, 0.5], [0.5, 0.4, 0.9, 0.8], [0.3, 0.1, 0.8, 0.4], [0.2, 0.5, 0.5, 1.0]], "float32"
    )
    first = model.train_on_batch(images(4, 32, 32), truth, return_dict=True)
    for _ in range(150):
        last = model.train_on_batch(images(4, 32, 32), truth, return_dict=True)
    assert last["loss"] < first["loss"]
    model.reset_metrics()
    assert model.train_on_batch(images(4, 32, 32), truth, return_dict=True)["iou"] > 0.6


def test_flip_and_shift_move_the_attended_box_alike():
    layer = AttentionBox()
    rng = np.random.default_rng(0)
    distances = np.full((1, 8, 8, 4), -2.0, "float32")
    logits = np.full((1, 8, 8, 1), -50.0, "float32")
    logits[0, 2:4, 1:4, 0] = rng.normal(size=(2, 3))
    features = rng.normal(size=(1, 8, 8, 3)).astype("float32")
    box, pooled = layer([distances, logits, features])
    # Three cells down and four to the right, of eight.
    moved, same = layer([distances, np.roll(logits, (3, 4), (1, 2)), np.roll(features, (3, 4), (1, 2))])
    np.testing.assert_allclose(moved - box, [[4 / 8, 3 / 8, 4 / 8, 3 / 8]], atol=1e-5)
    np.testing.assert_allclose(same, pooled, atol=1e-5)


def test_attention_box_worked_by_hand():
    # Two cells side by side, centres (1/4, 1/2) and (3/4, 1/2); logits 0 and log 3 weigh them 1/4 and 3/4.
    # softplus(0) = log 2 for every distance: x is 1/4 * 1/4 + 3/4 * 3/4 = 5/8 minus and plus log 2, y is 1/2.
    logits = np.log([[[[1.0], [3.0]]]]).astype("float32")
    features = np.array([[[[4.0], [8.0]]]], "float32")
    box, pooled = AttentionBox()([np.zeros((1, 1, 2, 4), "float32"), logits, features])
    half = np.log(2)
    np.testing.assert_allclose(box, [[5 / 8 - half, 1 / 2 - half, 5 / 8 + half, 1 / 2 + half]], rtol=1e-5)
    np.testing.assert_allclose(pooled, [[7.0]], rtol=1e-5)


def test_a_box_is_as_many_cells_large_whatever_the_size_of_the_image():
    distances = np.random.default_rng(0).normal(size=(1, 4, 4, 4)).astype("float32")
    logits, features = np.zeros((1, 4, 4, 1), "float32"), np.zeros((1, 4, 4, 1), "float32")
    # The same cells in the upper left of an image of twice the side; all the others are not attended to.
    wider = [np.pad(x, ((0, 0), (0, 4), (0, 4), (0, 0)), constant_values=v) for x, v in ((distances, 0), (logits, -99))]
    small, _ = AttentionBox(unit=8)([distances, logits, features])
    large, _ = AttentionBox(unit=8)([*wider, np.zeros((1, 8, 8, 1), "float32")])
    np.testing.assert_allclose(np.array(large) * 8, np.array(small) * 4, atol=1e-5)


@pytest.mark.parametrize("size", [64, 128, 192])
def test_training_starts_from_the_same_box_at_every_size(size):
    output = build("attention", size)(images(2, size, size), training=True).numpy()
    np.testing.assert_allclose(output[:, :4], [[0.28, 0.28, 0.72, 0.72]] * 2, atol=0.05)


def test_the_cells_that_training_sees_are_those_that_the_answer_averages():
    model = build("attention")
    answer, seen = (each(images(3), training=True).numpy() for each in (model, localizer.with_cells(model)))
    cells = seen[:, 5:].reshape(3, 16, 5)
    np.testing.assert_allclose(seen[:, :5], answer, atol=1e-6)
    weights = np.exp(cells[..., 4:]) / np.exp(cells[..., 4:]).sum(1, keepdims=True)
    np.testing.assert_allclose((weights * cells[..., :4]).sum(1), answer[:, :4], atol=1e-5)


def test_of_two_faces_the_more_attended_one_is_answered_and_not_a_box_between_them():
    # Eight cells in a row; two proposals each on both faces, whose boxes reach 1/8 from their centres.
    distances = np.full((1, 1, 8, 4), np.log(np.expm1(1 / 8)), "float32")
    logits = np.full((1, 1, 8, 1), -50.0, "float32")
    logits[0, 0, [0, 1], 0] = np.log([2.0, 1.0])
    logits[0, 0, [6, 7], 0] = np.log([1.9, 1.9])
    inputs = [distances, logits, np.zeros((1, 1, 8, 1), "float32")]
    box, _ = AttentionBox()(inputs)
    # The centres of the first two cells, 1/16 and 3/16, weighed 2 to 1; their boxes have an IoU of 1/3: one face.
    centre = (2 * 1 / 16 + 3 / 16) / 3
    np.testing.assert_allclose(box, [[centre - 1 / 8, 3 / 8, centre + 1 / 8, 5 / 8]], atol=1e-5)
    between, _ = AttentionBox()(inputs, training=True)
    centre = (2 * 1 / 16 + 3 / 16 + 1.9 * 13 / 16 + 1.9 * 15 / 16) / 6.8
    np.testing.assert_allclose(between, [[centre - 1 / 8, 3 / 8, centre + 1 / 8, 5 / 8]], atol=1e-5)


def test_centre_and_size_box_worked_by_hand():
    # Zeros are the box in the middle with half sides 0.22; the offset 0.1, -0.2 moves its centre to (0.6, 0.3).
    box = CentreSizeBox()(np.array([[0.1, -0.2, 0.0, 0.0]], "float32"))
    np.testing.assert_allclose(box, [[0.38, 0.08, 0.82, 0.52]], atol=1e-6)


def test_resize_repeats_the_nearest_cells():
    cells = np.arange(6, dtype="float32").reshape(1, 2, 3, 1)
    resized = ResizeLike()([cells, np.zeros((1, 4, 4, 5), "float32")])
    # New columns have their centres at 3/8, 9/8, 15/8 and 21/8 of three old ones.
    np.testing.assert_array_equal(resized[0, ..., 0], [[0, 1, 1, 2], [0, 1, 1, 2], [3, 4, 4, 5], [3, 4, 4, 5]])


def test_saved_models_answer_the_same_in_a_new_process(tmp_path):
    np.save(tmp_path / "images.npy", images(2, 96, 96))
    for vectorizer in VECTORIZERS:
        model = build(vectorizer, neck="conv", size=96)
        model.compile("adam", LocalizerLoss("l1"), metrics=[MeanIoU()], jit_compile=False)
        model.save(tmp_path / f"{vectorizer}.keras")
        np.save(tmp_path / f"{vectorizer}.npy", model(images(2, 96, 96)))
    script = (
        "import sys, keras, numpy as np, selfie_localizer.network.inference\n"
        f"for name in {VECTORIZERS}:\n"
        "    model = keras.models.load_model(f'{name}.keras', safe_mode=True)\n"
        "    np.testing.assert_array_equal(model(np.load('images.npy')), np.load(f'{name}.npy'))\n"
        "    assert model.loss.name == 'l1'\n"
        # Serving a model does not wait for KerasHub's import.
        "assert 'keras_hub' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("vectorizer", VECTORIZERS)
def test_bfloat16_computes_boxes_in_float32(vectorizer, bfloat16, tmp_path):
    model = build(vectorizer)
    assert model.get_layer("backbone").layers[2].compute_dtype == "bfloat16"
    output = model(images())
    assert output.dtype == tf.float32
    # Coordinates with more digits than a bfloat16 has.
    assert not np.array_equal(output, tf.cast(tf.cast(output, "bfloat16"), "float32"))
    model.compile("adam", LocalizerLoss(), run_eagerly=True)
    assert np.isfinite(model.train_on_batch(images(), np.zeros((2, 4), "float32")))
    model.save(tmp_path / "x.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "x.keras")(images()), model(images()))


@pytest.mark.parametrize("vectorizer", ["attention", "gap"])
def test_without_a_size_any_image_fits(vectorizer):
    model = build(vectorizer, size=None)
    assert model.input_shape == (None, None, None, 3)
    for height, width in ((64, 64), (96, 70), (101, 150)):
        output = model.predict(images(2, height, width), verbose=0)
        assert output.shape == (2, 5)
        assert (output[:, :2] <= output[:, 2:4]).all()


def test_a_size_that_strides_do_not_divide_fits():
    # 100 px leave 7 and 4 cells: twice 4 is not 7.
    assert build(size=100)(images(1, 100, 100)).shape == (1, 5)


def test_neck_is_the_articles_convolution():
    model = build("gap", neck="conv", neck_filters=1024, size=96)
    convolution = model.get_layer("neck_conv")
    assert (convolution.filters, convolution.kernel_size, convolution.strides) == (1024, (3, 3), (2, 2))
    # 96 px leave 3 x 3 cells, of which the unpadded convolution makes one.
    assert convolution.output.shape == (None, 1, 1, 1024)


def test_head_width_is_the_dense_units_or_the_convolutions_channels():
    assert build("gap").get_layer("head_dense").units == 8
    assert build("attention").get_layer("vectorizer_conv2").filters == 8


@pytest.mark.parametrize(
    ("network", "size", "message"),
    [
        ({"neck": "conv"}, 64, "neck: conv needs 3 x 3 cells and the backbone leaves 2 x 2; set neck to none"),
        ({"vectorizer": "flatten"}, None, "vectorizer: flatten needs a fixed image size"),
    ],
)
def test_parts_that_do_not_fit_are_one_line(network, size, message):
    with pytest.raises(UsageError, match=message) as caught:
        build(**{"size": size, **network})
    assert "\n" not in str(caught.value)


def test_the_same_seed_gives_the_same_weights():
    first, second = build(), build()
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
