"""Backbones: architectures, presets and what is said when one cannot be had."""

import keras
import numpy as np
import pytest

from selfie_localizer import params
from selfie_localizer.errors import UsageError, UserError
from selfie_localizer.network import backbones, localizer

# A ResNet of the smallest depth and width that KerasHub allows.
TINY = {"stackwise_num_filters": [64, 8, 8, 8], "stackwise_num_blocks": [1, 1, 1, 1]}
NAMES = "resnet18, resnet50, vgg11, vgg13, vgg16"
# Three convolutions of the same shape.
VGG = {"stackwise_num_repeats": [3], "stackwise_num_filters": [3]}
SMALL = params.Network(head_width=8)


def row(architecture="resnet18", weights="none", **arguments):
    return params.Backbone(architecture=architecture, weights=weights, arguments=arguments)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A preset folder as KerasHub saves one: weights and a normalisation of its own."""
    import keras_hub

    folder = tmp_path_factory.mktemp("preset")
    keras.utils.set_random_seed(1)
    model = backbones.load(row(**TINY)).backbone
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(keras.random.normal(layer.moving_mean.shape, stddev=0.05, seed=2))
    model.save_to_preset(str(folder))
    scale, offset = [0.01, 0.02, 0.03], [-1.0, -2.0, -3.0]
    keras_hub.layers.ResNetImageConverter(image_size=(64, 64), scale=scale, offset=offset).save_to_preset(str(folder))
    return folder, model, scale, offset


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    # He et al., 2016, and Simonyan and Zisserman, 2015, without their classifiers; BatchNorm's statistics included.
    [
        ("resnet18", 11_186_112),
        ("resnet50", 23_561_152),
        ("vgg11", 9_220_480),
        ("vgg13", 9_404_992),
        ("vgg16", 14_714_688),
    ],
)
def test_the_named_backbones_have_the_papers_size(architecture, parameters):
    assert backbones.load(row(architecture)).backbone.count_params() == parameters


def test_vgg_gives_its_last_layers_at_strides_16_and_32():
    middle, deep = backbones.stride_16_and_32(backbones.load(row("vgg16")).backbone)
    assert middle._keras_history.operation.name == "block5_conv3"
    assert deep._keras_history.operation.name == "block5_pool"


@pytest.mark.parametrize(("architecture", "convolutions"), [("vgg11", 8), ("vgg16", 13)])
def test_a_random_vgg_passes_its_signal_on_through_all_its_layers(architecture, convolutions):
    keras.utils.set_random_seed(0)
    backbone = backbones.load(row(architecture)).backbone
    outputs = [layer.output for layer in backbone.layers if isinstance(layer, keras.layers.Conv2D)]
    image = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    spread = [float(np.std(found)) for found in keras.Model(backbone.input, outputs)(image)]
    assert len(spread) == convolutions
    assert max(spread) < 5 * min(spread)


def test_a_random_vgg_is_decided_by_the_seed_and_no_two_layers_are_alike():
    def kernels(seed):
        keras.utils.set_random_seed(seed)
        model = backbones.load(row("VGGBackbone", **VGG)).backbone
        return [layer.kernel.numpy() for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]

    first, again, other = kernels(1), kernels(1), kernels(2)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, other)


def test_any_other_backbone_is_a_row_in_the_parameters(tmp_path):
    arguments = {"stackwise_num_repeats": (1, 1, 1, 1), "growth_rate": 4, "compression_ratio": 0.5}
    model = localizer.build(row("DenseNetBackbone", **arguments), SMALL, 64)
    model.save(tmp_path / "x.keras")
    loaded = keras.models.load_model(tmp_path / "x.keras")
    image = np.full((2, 64, 64, 3), 200, "uint8")
    np.testing.assert_array_equal(loaded(image), model(image))


@pytest.mark.parametrize("vectorizer", ["attention", "gap"])
def test_a_preset_brings_its_weights_and_its_own_normalisation(preset, vectorizer):
    folder, original, scale, offset = preset
    chosen = params.Backbone(weights=str(folder))
    model = localizer.build(chosen, params.Network(vectorizer=vectorizer, head_width=8), 64)
    image = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype="uint8")
    # KerasHub's converter resizes as well, which the project does itself: only its scale and offset count.
    got = keras.tree.flatten(model.get_layer("backbone")(model.get_layer("normalise")(image)))[-1]
    np.testing.assert_allclose(got, original(image * np.float32(scale) + np.float32(offset)), atol=1e-5)


def test_a_frozen_backbone_keeps_weights_and_moving_statistics_in_training(preset):
    model = localizer.build(params.Backbone(weights=str(preset[0])), SMALL, 64)
    image = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype="uint8")
    backbone = model.get_layer("backbone")

    def changed_by_training(frozen):
        localizer.freeze(model, frozen)
        model.compile("sgd", "mse", run_eagerly=True)
        before = [weight.numpy() for weight in backbone.weights]
        head = model.get_layer("vectorizer_conv1").kernel.numpy()
        model.train_on_batch(image, np.ones((4, 5), "float32"))
        assert not np.array_equal(head, model.get_layer("vectorizer_conv1").kernel)
        return {w.path for w, old in zip(backbone.weights, before, strict=True) if not np.array_equal(w, old)}

    assert changed_by_training(frozen=True) == set()
    changed = changed_by_training(frozen=False)
    assert any("moving_mean" in path for path in changed)
    assert any("kernel" in path for path in changed)


@pytest.mark.parametrize("size", [64, None])
def test_blocks_up_to_a_stride_stay_frozen_whatever_the_rest_does(size):
    model = localizer.build(params.Backbone(architecture="resnet18"), params.Network(head_width=8), size)
    backbone = model.get_layer("backbone")

    def trained_stacks(frozen, stride):
        localizer.freeze(model, frozen, stride)
        # Layers are named conv..., pool..., and stack0 (stride 4) to stack3 (stride 32).
        return {layer.name.split("_")[0] for layer in backbone.layers if layer.trainable and layer.weights}

    assert trained_stacks(False, 0) == {"conv1", "stack0", "stack1", "stack2", "stack3"}
    assert trained_stacks(False, 2) == {"stack0", "stack1", "stack2", "stack3"}
    assert trained_stacks(False, 8) == {"stack2", "stack3"}
    assert trained_stacks(False, 32) == trained_stacks(True, 8) == set()


def test_a_frozen_backbone_computes_the_same_in_training_and_inference(preset):
    model = localizer.build(params.Backbone(weights=str(preset[0])), SMALL, 64)
    image = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    backbone = model.get_layer("backbone")
    localizer.freeze(model)
    for trained, inferred in zip(backbone(image, training=True), backbone(image, training=False), strict=True):
        np.testing.assert_array_equal(trained, inferred)


def test_a_preset_of_another_class_than_the_architecture_is_refused(preset):
    with pytest.raises(UsageError, match=r"are of a ResNetBackbone, not of vgg16; leave architecture empty"):
        backbones.load(row("vgg16", str(preset[0])))


def test_a_preset_without_normalisation_says_what_is_used_instead(tmp_path, capsys):
    backbones.load(row(**TINY)).backbone.save_to_preset(str(tmp_path))
    loaded = backbones.load(params.Backbone(weights=str(tmp_path)))
    assert (loaded.scale, loaded.offset) == (1 / 127.5, -1.0)
    assert "bring no normalisation of their own: pixels are scaled to -1..1" in capsys.readouterr().err


def test_weights_that_cannot_be_fetched_are_one_line_with_the_way_out(monkeypatch, tmp_path):
    # A proxy nobody listens on, and an empty cache: offline wherever the test runs.
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as caught:
        backbones.load(row(weights="imagenet"))
    message = str(caught.value)
    assert message.startswith("weights resnet_18_imagenet cannot be fetched (")
    assert message.endswith("set weights to none in params.yaml, or to a local preset folder")
    assert "\n" not in message


def test_a_damaged_preset_folder_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"^weights .* cannot be read \(.*\); set weights to none"):
        backbones.load(params.Backbone(weights=str(tmp_path)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            row("resnet19"),
            "unknown architecture 'resnet19'; use resnet18, resnet50, vgg11, vgg13, vgg16, or a KerasHub backbone",
        ),
        (row("Backbone.presets"), "unknown architecture"),
        (row("DenseNetBackbone"), "arguments of DenseNetBackbone do not fit: .*missing"),
        (row("resnet18", depth=3), "arguments of resnet18 do not fit: ResNetBackbone has no depth"),
        (
            row("DenseNetBackbone", "imagenet"),
            "weights: imagenet is known for resnet18, resnet50, vgg11, vgg13, vgg16 only",
        ),
        (row("resnet18", "./nowhere"), "weights: ./nowhere is no folder here and no preset handle"),
        (
            row("BertBackbone", vocabulary_size=9, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4),
            "BertBackbone takes no images",
        ),
    ],
)
def test_a_wrong_row_is_one_line(wrong, message):
    with pytest.raises(UsageError, match=message) as caught:
        backbones.load(wrong)
    assert "\n" not in str(caught.value)


def test_a_backbone_without_these_strides_is_one_line():
    shallow = row("VGGBackbone", stackwise_num_repeats=(1, 1, 1), stackwise_num_filters=(8, 8, 8))
    with pytest.raises(UsageError, match=r"VGGBackbone has no layer at stride 16, which vectorizer: attention needs"):
        localizer.build(shallow, SMALL, 64)
    assert localizer.build(shallow, params.Network(vectorizer="gap", head_width=8), 64).output_shape == (None, 5)


def test_a_preset_of_fixed_size_wants_that_size_or_another_shape(tmp_path):
    backbones.load(row(**TINY, image_shape=(64, 64, 3))).backbone.save_to_preset(str(tmp_path))
    weights = str(tmp_path)
    assert localizer.build(params.Backbone(weights=weights), SMALL, 64).input_shape == (None, 64, 64, 3)
    with pytest.raises(UsageError, match=r"takes images of side 64 only; set prepare.image_size to 64, or image_shape"):
        localizer.build(params.Backbone(weights=weights), SMALL, 96)
    free = params.Backbone(weights=weights, arguments={"image_shape": (None, None, 3)})
    assert localizer.build(free, SMALL, 96).input_shape == (None, 96, 96, 3)


def test_a_backbone_that_could_not_be_loaded_again_is_refused_before_training():
    transformer = row(
        "MiTBackbone",
        image_shape=(64, 64, 3),
        num_layers=4,
        layerwise_depths=(1, 1, 1, 1),
        layerwise_num_heads=(1, 1, 1, 1),
        layerwise_sr_ratios=(8, 4, 2, 1),
        layerwise_patch_sizes=(7, 3, 3, 3),
        layerwise_strides=(4, 2, 2, 2),
        hidden_dims=(8, 8, 8, 8),
        max_drop_path_rate=0.1,
    )
    with pytest.raises(UsageError, match="MiTBackbone of this KerasHub cannot be loaded again once it is saved"):
        localizer.build(transformer, SMALL, 64)


def test_a_backbone_without_a_feature_map_is_one_line():
    tokens = row(
        "ViTBackbone", image_shape=(64, 64, 3), patch_size=16, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8
    )
    with pytest.raises(UsageError, match="ViTBackbone does not end in one feature map"):
        localizer.build(tokens, params.Network(vectorizer="gap"), 64)
