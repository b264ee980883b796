"""Hair: a filled scalp, and locks that grow from it, are combed, fall and slide over head and shoulders."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from selfie_renderer import head, paint, parts
from selfie_renderer.hairstyle import Style
from selfie_renderer.light import sample_texture
from selfie_renderer.skin import dot, unit

Floats = NDArray[np.float32]

STEPS = 11  # Points along a lock.
TIE = np.array([0.0, 7.85, -0.5], np.float32)  # Where a ponytail or bun is tied.


def scalp_share(mesh: head.Mesh, painted: paint.Paint) -> tuple[Floats, Floats]:
    """Returns how much each vertex belongs to the scalp that is painted, and how deep inside it, (V,) each, 0..1."""
    rest = mesh.vertices
    u = parts.cylinder_u(rest)
    x, y = (u - paint.LEFT) * paint.SCALE, (paint.TOP - rest[:, 1]) * paint.SCALE
    deep = cv2.GaussianBlur(painted.scalp, (0, 0), 0.17 * paint.SCALE, borderType=cv2.BORDER_REPLICATE)
    sampled = sample_texture(np.dstack([painted.scalp, deep]), x, y)
    behind = (np.abs(u) > 1.9) & (rest[:, 1] > 6.75) & (np.hypot(rest[:, 0], rest[:, 2] - 0.45) > 0.45)
    share, inner = (np.where(behind, 1.0, s) * (rest[:, 1] > 6.6) for s in sampled.T)
    body = np.zeros(len(rest), bool)
    body[mesh.faces["body"].ravel()] = True
    hairy = body * (1 - np.minimum(mesh.masks["ears"] * 1.5, 1))
    return (share * hairy).astype(np.float32), (np.clip(2 * inner - 1, 0, 1) * hairy).astype(np.float32)


def swell(
    rng: np.random.Generator, mesh: head.Mesh, vertices: Floats, normals: Floats, deep: Floats, style: Style
) -> Floats:
    """Returns the vertices with the scalp pushed out by the hair's volume, which fades in at the hairline."""
    rest = mesh.vertices
    waves = rng.normal(0, 1, (3, 6))
    bumps = np.sin(rest @ (waves * (5.0 if style.comb == "curls" else 2.5))).mean(1) * 0.5
    height = np.clip((rest[:, 1] - 6.7) / 1.3, 0, 1)
    shape = 0.45 + 0.55 * height if style.comb in ("side", "up", "forward", "back") else 0.7 + 0.3 * height
    out = style.volume * shape * (1 + 0.35 * bumps) * np.sqrt(deep)
    return (vertices + normals * out[:, None]).astype(np.float32)


def _combed(rng: np.random.Generator, style: Style, roots: Floats, normals: Floats) -> Floats:
    """Returns the direction in which hair leaves each root, unit vectors (N, 3)."""
    count = len(roots)
    direction = np.zeros((count, 3), np.float32)
    side = np.where(roots[:, 0] - style.part > 0, 1.0, -1.0)
    front = np.clip((roots[:, 2] - 0.55) / 0.5, 0, 1)
    if style.comb == "down":
        direction[:, 0], direction[:, 1], direction[:, 2] = side, -0.25, -0.15 - 0.35 * front
    elif style.comb == "side":
        way = 1.0 if style.part <= 0 else -1.0
        across = np.where(side * way > 0, way, -way)
        direction[:, 0], direction[:, 1], direction[:, 2] = across, -0.2, 0.45 * front - 0.25
    elif style.comb == "forward":
        direction[:, 1], direction[:, 2] = -0.6 + 0.3 * front, 1.0
        direction[:, 0] = 0.3 * rng.normal(0, 1, count)
    elif style.comb == "up":
        top = np.clip((normals[:, 1:2] - 0.35) / 0.4, 0, 1)
        direction[:] = normals * (0.1 + 0.25 * top) + np.array([0.0, 0.7, 0.25], np.float32) * (2 * top - 1)
    elif style.comb == "back":
        direction[:, 1], direction[:, 2], direction[:, 0] = -0.1, -1.0, 0.25 * side
    elif style.comb == "tied":
        direction[:] = TIE - roots
    else:
        # Curls turn every way but into the face.
        direction[:] = normals * 0.6 + rng.normal(0, 1, (count, 3))
        direction += front[:, None] * np.array([0, 1.2, -0.6], np.float32)
        direction[:, 0] += 0.8 * np.sign(roots[:, 0]) * np.clip((8.0 - roots[:, 1]) / 0.4, 0, 1)
    if style.comb in ("side", "forward", "back"):  # Hair at the sides and behind lies flat and points down.
        direction[:, 1] -= 1.4 * np.clip(np.abs(normals[:, 0]) - 0.3, 0, 1) + np.clip(-normals[:, 2], 0, 1)
    if style.fringe:
        over = (front > 0.55) & (roots[:, 1] > 7.8)
        spread = 0.3 * roots[:, 0] + rng.normal(0, 0.12, count)
        direction[over] = np.stack([spread, np.full(count, -0.35), np.full(count, 0.8)], 1)[over]
    if style.veil:
        over = (front > 0.3) & (roots[:, 1] > 7.8) & (roots[:, 0] * style.veil > -0.4)
        direction[over] = np.array([0.3 * style.veil, -0.4, 0.7])
    direction += rng.normal(0, 0.1 if style.comb in ("side", "back", "forward") else 0.16, (count, 3))
    if style.comb not in ("up", "curls"):
        direction -= normals * dot(direction, normals)
    return unit(direction.astype(np.float32))


def _keep_out(p: Floats, style: Style, fringe: NDArray[np.bool_], jitter: Floats) -> Floats:
    """Moves points (N, 3) that hang before the face to its sides, but for a fringe above the eyes and a veil."""
    x, y, z = p.T
    clear = np.interp(y, [5.9, 6.4, 7.0, 7.6, 8.0], [0.5, 0.6, 0.68, 0.66, 0.35]).astype(np.float32) + jitter
    if style.veil:
        clear = np.where(x * style.veil > 0, 0.17 + 2 * jitter, clear)
    before = (z > 0.5) & (y < 8.0) & (y > 5.7) & ~fringe
    hanging = before & (np.abs(x) < clear)
    x = np.where(hanging, np.where(x < 0, -clear, clear), x)
    limit = 0.3 + 1.2 * np.sqrt(np.maximum(1 - (x / 1.02) ** 2, 0.02)) + 0.08
    z = np.where(before, np.minimum(z, limit), z)
    return np.stack([x, y, z], 1).astype(np.float32)


def _grow(
    rng: np.random.Generator, style: Style, roots: Floats, normals: Floats, tree: cKDTree, skin: Floats, out: Floats
) -> tuple[Floats, Floats]:
    """Returns the points (N, STEPS, 3) of locks and the skin's normals below them."""
    count = len(roots)
    direction = _combed(rng, style, roots, normals)
    length = style.length * rng.uniform(0.75, 1.1, count)
    if style.comb in ("side", "forward", "up", "back"):  # Short at the sides and behind, long on top.
        length *= 0.2 + 0.8 * np.clip((roots[:, 1] - 7.6) / 0.5, 0, 1)
    fringe = np.zeros(count, bool)
    if style.fringe:
        fringe = (roots[:, 2] > 0.82) & (roots[:, 1] > 7.8)
        length = np.where(fringe, (roots[:, 1] - rng.uniform(7.5, 7.7, count)) * 1.2 + 0.1, length)
    step = (length / (STEPS - 1)).astype(np.float32)[:, None]
    weight = {"down": 0.5, "side": 0.2, "forward": 0.15, "back": 0.2, "up": 0.08, "curls": 0.1, "tied": 0.02}
    pull = np.where(fringe, 0.25, weight.get(style.comb, 0.1)).astype(np.float32)[:, None]
    loose = 0.09 if style.comb in ("down", "tied", "curls", "up") else 0.045
    margin = (0.015 + rng.uniform(0, loose, count) + 0.25 * style.wave).astype(np.float32)
    jitter = rng.normal(0, 0.035, count).astype(np.float32)
    phase, turns = rng.uniform(0, 2 * np.pi, (count, 1)), rng.uniform(0.7, 1.3, (count, 1)) * (1.3 + 6 * style.wave)
    cut = (style.cut + rng.normal(0, 0.1, count)).astype(np.float32)
    down = np.array([0, -1, 0], np.float32)
    p, points, below = roots, [roots], [normals]
    for k in range(1, STEPS):
        direction = unit(direction * (1 - pull) + down * pull)
        if style.comb == "tied":
            left = TIE - p
            far = np.sqrt(dot(left, left))
            direction = unit(direction + left / np.maximum(far, 0.1))
            move = direction * np.minimum(step, far * 0.5)
        else:
            move = direction * step
        q = p + move
        if style.wave:
            swing = np.concatenate([np.cos(turns * k + phase), 0 * phase, np.sin(turns * k * 0.9 + phase)], 1)
            q = q + (style.wave * swing).astype(np.float32)
        if style.comb == "down":
            q = np.where((p[:, 1] < cut)[:, None], p, q)
        _, near = tree.query(q)
        n = out[near]
        depth = margin - ((q - skin[near]) * n).sum(1)
        q = q + n * np.clip(depth, 0, 0.6)[:, None]
        q = _keep_out(q, style, fringe, jitter)
        direction = unit(q - p + 1e-4 * direction)
        p = q.astype(np.float32)
        points.append(p)
        below.append(n)
    return np.stack(points, 1), np.stack(below, 1)


def ribbons(
    rng: np.random.Generator, points: Floats, normals: Floats, width: Floats, bones: tuple[int, int, int]
) -> parts.Part:
    """Returns locks as flat bands that look round.

    Args:
        points, normals: Middle lines (N, S, 3) and the normals of what they lie on.
        width: Half the width of each lock, (N,).
        bones: Chest, neck and head; what hangs low follows the chest.
    """
    count, steps = points.shape[:2]
    tangent = np.gradient(points, axis=1)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=2, keepdims=True), 1e-6)
    side = np.cross(tangent, normals)
    side /= np.maximum(np.linalg.norm(side, axis=2, keepdims=True), 1e-6)
    along = np.linspace(0, 1, steps, dtype=np.float32)
    taper = np.clip(1.15 - along**3, 0.15, 1)[None, :, None] * width[:, None, None]
    vertices = np.stack([points - side * taper, points + side * taper], 2)
    looks = np.stack([normals - 0.9 * side, normals + 0.9 * side], 2)
    looks /= np.maximum(np.linalg.norm(looks, axis=3, keepdims=True), 1e-6)
    rest = np.zeros(vertices.shape, np.float32)
    rest[..., 0] = 100 * np.asarray(rng.random(count))[:, None, None]
    rest[..., 1] = np.array([-1, 1], np.float32)
    rest[..., 2] = along[None, :, None]
    extra = np.zeros((*vertices.shape[:3], 4), np.float32)
    extra[..., :3] = tangent[:, :, None]
    extra[..., 3] = np.asarray(rng.standard_normal(count))[:, None, None]
    grid = parts.grid_faces(steps, 2)
    faces = (grid[None] + (np.arange(count) * steps * 2)[:, None, None]).reshape(-1, 3)
    flat = vertices.reshape(-1, 3).astype(np.float32)
    index = np.zeros((len(flat), 4), np.int32)
    index[:, :3] = bones
    chest = np.clip((6.0 - flat[:, 1]) / 0.8, 0, 1)
    neck = np.clip((6.6 - flat[:, 1]) / 0.6, 0, 1) - chest
    share = np.stack([chest, neck, 1 - chest - neck, 0 * chest], 1).astype(np.float32)
    ao = np.full(len(flat), 0.85, np.float32)
    return parts.Part(
        flat, faces.astype(np.int32), parts.Material.HAIR, rest.reshape(-1, 3).astype(np.float32),
        extra.reshape(-1, 4), ao, index, share, looks.reshape(-1, 3).astype(np.float32), two_sided=True,
    )  # fmt: skip


def build(
    rng: np.random.Generator, mesh: head.Mesh, vertices: Floats, normals: Floats, share: Floats, style: Style
) -> list[parts.Part]:
    """Grows the locks on morphed vertices (V, 3) whose scalp has been swollen.

    Args:
        share: How much a vertex belongs to the scalp, (V,).
    """
    if style.comb in ("none", "buzz"):
        return []
    bones = tuple(mesh.bones.index(b) for b in ("spine_03", "neck_01", "head"))
    arm = mesh.skin_weights * np.isin(
        mesh.skin_bones, [k for k, b in enumerate(mesh.bones) if b[-2:] in ("_l", "_r") and "clavicle" not in b]
    )
    solid = np.flatnonzero(
        (arm.sum(1) < 0.3)
        & (mesh.vertices[:, 1] > 2.5)
        & (mesh.masks["inside-mouth"] < 0.3)
        & (np.bincount(mesh.faces["body"].ravel(), minlength=len(vertices)) > 0)
    )
    tree = cKDTree(vertices[solid])
    face = mesh.faces["body"]
    face = face[share[face].min(1) > 0.35]
    a, b, c = (vertices[face[:, k]] for k in range(3))
    size = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    count = {"down": 330, "tied": 190, "curls": 520}.get(style.comb, 300)
    pick = face[rng.choice(len(face), count, p=size / size.sum())]
    mix = rng.dirichlet([1, 1, 1], count).astype(np.float32)
    roots = np.einsum("nk,nkj->nj", mix, vertices[pick])
    outward = unit(np.einsum("nk,nkj->nj", mix, normals[pick]))
    points, below = _grow(rng, style, roots, outward, tree, vertices[solid], normals[solid])
    wide = {"down": 0.1, "tied": 0.075, "curls": 0.06}.get(style.comb, 0.055)
    width = (wide * rng.uniform(0.6, 1.3, count)).astype(np.float32)
    grown = [ribbons(rng, points, below, width, (bones[0], bones[1], bones[2]))]
    if style.comb == "tied":
        grown.append(
            _knot(rng, bones[2])
            if style.tail == 0
            else _tail(rng, style, tree, vertices[solid], normals[solid], (bones[0], bones[1], bones[2]))
        )
    return grown


def _knot(rng: np.random.Generator, bone: int) -> parts.Part:
    """Returns a bun behind or on top of the head."""
    size = float(rng.uniform(0.28, 0.45))
    middle = TIE + np.array([0, rng.choice([0.0, 0.85]), 0.0], np.float32)
    if middle[1] > 8.3:
        middle[2] = 0.25
    turn, rise = np.meshgrid(np.linspace(0, 2 * np.pi, 14), np.linspace(-np.pi / 2, np.pi / 2, 9))
    ball = np.stack([np.cos(turn) * np.cos(rise), np.sin(rise), np.sin(turn) * np.cos(rise)], -1).reshape(-1, 3)
    extra = np.zeros((len(ball), 4), np.float32)
    extra[:, :3] = np.stack([-np.sin(turn), 0.3 + 0 * turn, np.cos(turn)], -1).reshape(-1, 3)
    rest = np.stack([rise * 3, turn * 0, turn], -1).reshape(-1, 3)
    return parts.rigid(
        (middle + ball * size).astype(np.float32), parts.grid_faces(9, 14), parts.Material.HAIR, bone,
        rest.astype(np.float32), 0.8, extra=extra,
    )  # fmt: skip


def _tail(
    rng: np.random.Generator, style: Style, tree: cKDTree, skin: Floats, out: Floats, bones: tuple[int, int, int]
) -> parts.Part:
    """Returns a ponytail that falls from the tie, at times over a shoulder."""
    count = 50
    away = np.array([rng.normal(0, 0.5), 0.2, -1.0])
    loose = Style("down", 0.0, style.tail, 0.0, wave=style.wave)
    roots = (TIE + rng.normal(0, 0.06, (count, 3))).astype(np.float32)
    outward = unit((away + rng.normal(0, 0.2, (count, 3))).astype(np.float32))
    points, below = _grow(rng, loose, roots, outward, tree, skin, out)
    return ribbons(rng, points, below, np.full(count, 0.09, np.float32), bones)
