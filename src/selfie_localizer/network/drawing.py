"""The architecture as a picture, drawn by matplotlib alone."""

from dataclasses import dataclass
from pathlib import Path

import keras
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from selfie_localizer.files import atomic_write

# Block by block: the prefix of its layers' names, its title and its colours (fill, edge).
BLOCKS = {
    "image": ("Input", "#eef2f7", "#64748b"),
    "normalise": ("Normalising", "#eef2f7", "#64748b"),
    "backbone": ("Backbone", "#dbeafe", "#2563eb"),
    "neck": ("Neck", "#dcfce7", "#16a34a"),
    "vectorizer": ("Vectorizer", "#fef3c7", "#d97706"),
    "head": ("Head", "#fce7f3", "#db2777"),
    "box": ("Output", "#ede9fe", "#7c3aed"),
}
INK, SOFT = "#0f172a", "#475569"
WIDTH, LINE, PADDING, GAP = 10.0, 0.3, 0.28, 0.42


@dataclass(frozen=True)
class Row:
    """A layer: what it is, the shapes it gives, and its number of weights."""

    text: str
    shape: str
    weights: str


def draw(model: keras.Model, path: Path, subtitle: str = "") -> Path:
    """Draws a localizer block by block, with the shapes and the number of weights of each layer.

    Args:
        model: As `localizer.build` returns it.
        path: PNG to write, or to replace.
        subtitle: Stands under the title, e.g. the backbone's name.

    Returns:
        `path`.
    """
    blocks = rows(model)
    heights = {name: LINE * (len(lines) + 1) + 2 * PADDING for name, lines in blocks.items()}
    total = sum(heights.values()) + GAP * (len(blocks) - 1) + 1.3
    figure = Figure(figsize=(WIDTH, total), dpi=110, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(total, 0))
    axes.axis("off")
    axes.text(0.5, 0.5, "Localizer", fontsize=19, fontweight="bold", color=INK, va="center")
    summary = f"{subtitle}   " if subtitle else ""
    axes.text(0.5, 0.88, f"{summary}{model.count_params():,} weights", fontsize=11, color=SOFT, va="center")
    top = 1.15
    for index, (name, lines) in enumerate(blocks.items()):
        if index:
            axes.annotate(
                "",
                xy=(WIDTH / 2, top),
                xytext=(WIDTH / 2, top - GAP),
                arrowprops={"arrowstyle": "-|>", "color": SOFT, "linewidth": 1.5, "shrinkA": 2, "shrinkB": 1},
            )
        _block(axes, name, lines, top, heights[name])
        top += heights[name] + GAP
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")
    return path


def rows(model: keras.Model) -> dict[str, list[Row]]:
    """Returns what is drawn, block by block: the layers of a model of `localizer.build`."""
    found = {}
    # Keras sorts layers by depth alone, which mixes those of parallel branches.
    for block in BLOCKS:
        if layers := [layer for layer in model.layers if layer.name.split("_")[0] == block]:
            found[block] = [_row(layer) for layer in layers]
    return found


def _block(axes: Axes, name: str, lines: list[Row], top: float, height: float) -> None:
    title, fill, edge = BLOCKS[name]
    axes.add_patch(
        FancyBboxPatch(
            (0.5, top),
            WIDTH - 1,
            height,
            boxstyle="round,pad=0,rounding_size=0.14",
            facecolor=fill,
            edgecolor=edge,
            linewidth=1.4,
        )
    )
    y = top + PADDING + LINE / 2
    axes.text(0.8, y, title, fontsize=13, fontweight="bold", color=edge, va="center")
    for line in lines:
        y += LINE
        axes.text(0.8, y, line.text, fontsize=10.5, color=INK, va="center")
        axes.text(7.3, y, line.shape, fontsize=10.5, color=SOFT, va="center", ha="right", family="monospace")
        axes.text(WIDTH - 0.8, y, line.weights, fontsize=10.5, color=SOFT, va="center", ha="right")


def _row(layer: keras.Layer) -> Row:
    # A model inside a model has outputs of its own, of any size; the outer graph's are behind its latest call.
    outputs = layer._inbound_nodes[-1].output_tensors
    shapes = "   ".join(" x ".join("any" if side is None else str(side) for side in out.shape[1:]) for out in outputs)
    return Row(_text(layer), shapes, f"{layer.count_params():,} weights" if layer.weights else "")


def _text(layer: keras.Layer) -> str:
    name = layer.name.split("_", 1)[-1].replace("_", " ")
    match layer:
        case keras.layers.InputLayer():
            return "RGB pixels, uint8"
        case keras.layers.Rescaling():
            return "pixel x scale + offset"
        case keras.Model():
            depth = sum(
                isinstance(inner, keras.layers.Conv2D | keras.layers.SeparableConv2D | keras.layers.Dense)
                for inner in layer._flatten_layers(include_self=False)
            )
            return f"{depth} convolutions"
        case keras.layers.Conv2D():
            return f"{name}: convolution {layer.kernel_size[0]} x {layer.kernel_size[1]}, stride {layer.strides[0]}"
        case keras.layers.Concatenate():
            return "x1, y1, x2, y2, score"
        case keras.layers.Dense():
            return f"{name}: fully connected, {layer.activation.__name__}"
        case keras.layers.Activation():
            return f"{name}: {layer.activation.__name__}"
        case _:
            return f"{name}: {type(layer).__name__}"
