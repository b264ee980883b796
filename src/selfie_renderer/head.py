"""The mesh asset and its morphing: a grown-up's head, torso and arms drawn from a random generator.

The mesh is MakeHuman's (see HEAD_ASSET.md): units are decimetres, y is up, the face looks along +z, x grows to the
person's left.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RACES = ("african", "asian", "caucasian")


@dataclass(frozen=True)
class Mesh:
    """The asset, unpacked.

    Attributes:
        vertices: Rest positions, float32 (V, 3), decimetres.
        faces: Triangles of each part (`body`, `eye`, `teeth`, `tongue`, `lashes`), int32 (F, 3).
        ao: Share of the sky that a vertex sees, float32 (V,), 0..1.
        masks: How much a vertex belongs to `lips`, `eyelids`, `ears`, `inside-mouth`, `fingernails`, float32 (V,).
        eyes: Vertices of the left and the right eyeball, (2, 72).
        skin_bones, skin_weights: Linear blend skinning, (V, 4) each.
        bones: Names of the bones; `parents` their parents (-1: fixed), `joints` the 8 vertices around each joint.
        targets: Name to (vertex rows, displacements (n, 3)).
    """

    vertices: Floats
    faces: dict[str, NDArray[np.int32]]
    ao: Floats
    masks: dict[str, Floats]
    eyes: NDArray[np.int32]
    skin_bones: NDArray[np.int32]
    skin_weights: Floats
    bones: tuple[str, ...]
    parents: NDArray[np.int32]
    joints: NDArray[np.int32]
    targets: dict[str, tuple[NDArray[np.int32], Floats]]


@lru_cache(maxsize=1)
def load() -> Mesh:
    """Returns the asset; it is read once in a process."""
    with resources.as_file(resources.files(__package__) / "head.npz") as path, np.load(path) as data:
        content = {key: data[key] for key in data.files}
    offsets, step = content["targets/offsets"], content["targets/step"]
    targets = {}
    for k, name in enumerate(content["targets/names"]):
        part = slice(offsets[k], offsets[k + 1])
        rows = np.cumsum(content["targets/rows"][part], dtype=np.int32)
        targets[str(name)] = (rows, content["targets/deltas"][:, part].T.astype(np.float32) * step)
    weights = content["skin/weights"].astype(np.float32)
    return Mesh(
        vertices=content["vertices"],
        faces={k.removeprefix("faces/"): v.astype(np.int32) for k, v in content.items() if k.startswith("faces/")},
        ao=content["ao"].astype(np.float32) / 255,
        masks={
            k.removeprefix("mask/"): v.astype(np.float32) / 255 for k, v in content.items() if k.startswith("mask/")
        },
        eyes=content["eyes"].astype(np.int32),
        skin_bones=content["skin/bones"].astype(np.int32),
        skin_weights=weights / weights.sum(1, keepdims=True),
        bones=tuple(str(b) for b in content["bones/names"]),
        parents=content["bones/parents"].astype(np.int32),
        joints=content["bones/joints"].astype(np.int32),
        targets=targets,
    )


@dataclass(frozen=True)
class Person:
    """Who is in the picture; everything else about a face follows from it and the generator.

    Attributes:
        male: 0 (female) to 1 (male).
        age: Years, 18 to 80.
        race: Shares of the three macro targets, summing to 1.
        weight: -1 (thin) to 1 (heavy).
    """

    male: float
    age: float
    race: tuple[float, float, float]
    weight: float
    details: dict[str, float] = field(default_factory=dict)


# Pairs of targets and how widely they vary; the macro targets alone give brothers and sisters.
_PAIRS = {
    ("head-scale-horiz-decr", "head-scale-horiz-incr"): 0.35,
    ("head-scale-vert-decr", "head-scale-vert-incr"): 0.25,
    ("head-fat-decr", "head-fat-incr"): 0.4,
    ("forehead-scale-vert-decr", "forehead-scale-vert-incr"): 0.4,
    ("forehead-temple-decr", "forehead-temple-incr"): 0.3,
    ("eyebrows-trans-down", "eyebrows-trans-up"): 0.4,
    ("eyebrows-angle-down", "eyebrows-angle-up"): 0.4,
    ("eye-scale-decr", "eye-scale-incr"): 0.35,
    ("eye-trans-in", "eye-trans-out"): 0.3,
    ("eye-trans-down", "eye-trans-up"): 0.25,
    ("eye-height2-decr", "eye-height2-incr"): 0.35,
    ("eye-corner1-down", "eye-corner1-up"): 0.35,
    ("eye-corner2-down", "eye-corner2-up"): 0.35,
    ("eye-bag-decr", "eye-bag-incr"): 0.4,
    ("eye-epicanthus-in", "eye-epicanthus-out"): 0.3,
    ("eye-eyefold-down", "eye-eyefold-up"): 0.35,
    ("nose-scale-horiz-decr", "nose-scale-horiz-incr"): 0.4,
    ("nose-scale-vert-decr", "nose-scale-vert-incr"): 0.35,
    ("nose-scale-depth-decr", "nose-scale-depth-incr"): 0.35,
    ("nose-hump-decr", "nose-hump-incr"): 0.4,
    ("nose-point-down", "nose-point-up"): 0.4,
    ("nose-point-width-decr", "nose-point-width-incr"): 0.4,
    ("nose-volume-decr", "nose-volume-incr"): 0.3,
    ("nose-width1-decr", "nose-width1-incr"): 0.35,
    ("nose-nostrils-width-decr", "nose-nostrils-width-incr"): 0.35,
    ("nose-curve-concave", "nose-curve-convex"): 0.3,
    ("mouth-scale-horiz-decr", "mouth-scale-horiz-incr"): 0.35,
    ("mouth-trans-down", "mouth-trans-up"): 0.3,
    ("mouth-upperlip-height-decr", "mouth-upperlip-height-incr"): 0.4,
    ("mouth-lowerlip-height-decr", "mouth-lowerlip-height-incr"): 0.4,
    ("mouth-upperlip-volume-decr", "mouth-upperlip-volume-incr"): 0.4,
    ("mouth-lowerlip-volume-decr", "mouth-lowerlip-volume-incr"): 0.4,
    ("mouth-cupidsbow-decr", "mouth-cupidsbow-incr"): 0.4,
    ("chin-height-decr", "chin-height-incr"): 0.35,
    ("chin-width-decr", "chin-width-incr"): 0.4,
    ("chin-bones-decr", "chin-bones-incr"): 0.35,
    ("chin-prominent-decr", "chin-prominent-incr"): 0.35,
    ("chin-jaw-drop-decr", "chin-jaw-drop-incr"): 0.3,
    ("cheek-bones-decr", "cheek-bones-incr"): 0.4,
    ("cheek-volume-decr", "cheek-volume-incr"): 0.4,
    ("cheek-inner-decr", "cheek-inner-incr"): 0.3,
    ("ear-scale-decr", "ear-scale-incr"): 0.35,
    ("ear-wing-decr", "ear-wing-incr"): 0.4,
    ("neck-scale-horiz-decr", "neck-scale-horiz-incr"): 0.3,
}
_OUTLINES = (
    "head-oval",
    "head-round",
    "head-square",
    "head-rectangular",
    "head-diamond",
    "head-triangular",
    "head-invertedtriangular",
)


def draw_person(rng: np.random.Generator) -> Person:
    """Draws an adult: sex, age, origin, weight and the details of the face."""
    male = float(np.clip(rng.choice([0.05, 0.95], p=[0.55, 0.45]) + rng.normal(0, 0.12), 0, 1))
    age = float(np.clip(18 + rng.gamma(1.8, 8.0), 18, 80))
    race = rng.dirichlet([0.35, 0.35, 0.5])
    details: dict[str, float] = {}
    for (low, high), spread in _PAIRS.items():
        value = float(np.clip(rng.normal(0, 0.75 * spread), -0.8, 0.8))
        details[high if value > 0 else low] = abs(value)
    details[str(rng.choice(_OUTLINES))] = float(rng.uniform(0, 0.7))
    weight = float(np.clip(rng.normal(0.0, 0.4), -0.9, 0.9))
    if weight > 0.3:
        details["neck-double-incr"] = float(rng.uniform(0, weight))
    return Person(male, age, (float(race[0]), float(race[1]), float(race[2])), weight, details)


def draw_expression(rng: np.random.Generator) -> dict[str, float]:
    """Draws the weights of the expression units: neutral, smiling with lips closed or open, pouting, surprised."""
    unit: dict[str, float] = {}
    kind = rng.choice(["neutral", "smile", "grin", "pout", "surprise", "wink"], p=[0.27, 0.32, 0.28, 0.07, 0.03, 0.03])
    strength = float(rng.uniform(0.35, 1.0))
    if kind in ("smile", "grin", "wink"):
        unit["mouth-corner-puller"] = 0.8 * strength
        unit["eye-left-slit"] = unit["eye-right-slit"] = 0.2 * strength
    if kind == "grin":
        unit["mouth-open"] = float(rng.uniform(0.0, 0.14)) * strength
        unit["mouth-upward-retraction"] = 0.35 + 0.5 * strength
        unit["mouth-part-later"] = float(rng.uniform(0, 0.3)) * strength
    if kind == "pout":
        unit["mouth-pursing"] = 0.5 * strength
        unit["mouth-protusion"] = 0.5 * strength
    if kind == "surprise":
        unit["mouth-open"] = 0.4 * strength
        unit["eyebrows-left-up"] = unit["eyebrows-right-up"] = 0.8 * strength
    if kind == "wink":
        unit["eye-left-closure" if rng.random() < 0.5 else "eye-right-closure"] = 1.0
    elif rng.random() < 0.04:
        unit["eye-left-closure"] = unit["eye-right-closure"] = 1.0
    if rng.random() < 0.3:
        for side in ("left", "right"):
            unit[f"eyebrows-{side}-up"] = float(rng.uniform(0, 0.6))
    elif rng.random() < 0.3:
        unit["eyebrows-left-down"] = unit["eyebrows-right-down"] = float(rng.uniform(0, 0.5))
    return {f"expression-{name}": weight for name, weight in unit.items()}


def _macro(person: Person) -> dict[str, float]:
    """Returns the weights of the macro targets, which multiply over sex, age, origin and weight as in MakeHuman."""
    weights: dict[str, float] = {}
    old = float(np.clip((person.age - 25) / 65, 0, 1))
    for sex, s in (("female", 1 - person.male), ("male", person.male)):
        for age, a in (("young", 1 - old), ("old", old)):
            for race, r in zip(RACES, person.race, strict=True):
                weights[f"{race}-{sex}-{age}"] = s * a * r
            build = "maxweight" if person.weight > 0 else "minweight"
            weights[f"universal-{sex}-{age}-averagemuscle-{build}"] = s * a * abs(person.weight)
    return weights


def morph(mesh: Mesh, person: Person, expression: dict[str, float]) -> Floats:
    """Returns the person's vertices in the rest pose, float32 (V, 3)."""
    vertices = mesh.vertices.copy()
    for name, weight in (_macro(person) | person.details | expression).items():
        if weight and name in mesh.targets:
            rows, delta = mesh.targets[name]
            vertices[rows] += np.float32(weight) * delta
    return vertices
