"""A whole person: body, hair, clothes, what is worn on head and nose; built in the rest pose, then posed and shaded."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from selfie_renderer import (
    clothes,
    drape,
    eyewear,
    hair,
    hairstyle,
    head,
    headwear,
    materials,
    paint,
    parts,
    pose,
    raster,
    skin,
)
from selfie_renderer.light import Light, linear
from selfie_renderer.looks import EVERYDAY, Look
from selfie_renderer.parts import EXTRA, NORMAL, REST, Material, Part
from selfie_renderer.truth import face_patch

Floats = NDArray[np.float32]


@dataclass
class Figure:
    """Who is in the picture, in the rest pose.

    Attributes:
        morphed: Vertices of the asset's mesh without hair and cloth, float32 (V, 3); bones and truth follow these.
        parts: All surfaces but the lenses; the first is the body.
        lens: The lenses, if there are glasses.
        whole: Whether there are legs below the mesh.
    """

    person: head.Person
    looks: paint.Looks
    painted: paint.Paint
    style: hairstyle.Style
    garment: clothes.Garment
    glasses: eyewear.Glasses | None
    morphed: Floats
    parts: list[Part]
    lens: Part | None
    bald: float
    whole: bool = False


@lru_cache(maxsize=8)
def _used(part: str) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Returns which vertices one of the asset's surfaces uses, and its triangles numbered by these."""
    rows, inverse = np.unique(head.load().faces[part], return_inverse=True)
    return rows.astype(np.intp), inverse.reshape(-1, 3).astype(np.int32)


def _own(mesh: head.Mesh, vertices: Floats, part: str, material: Material, two_sided: bool = False) -> Part:
    """Returns one of the asset's surfaces as a part."""
    rows, faces = _used(part)
    extra = np.stack([mesh.masks[m][rows] for m in ("lips", "eyelids", "ears", "inside-mouth")], 1)
    return Part(
        vertices[rows], faces, material, mesh.vertices[rows], extra, mesh.ao[rows],
        mesh.skin_bones[rows], mesh.skin_weights[rows], two_sided=two_sided,
    )  # fmt: skip


def aligned(mesh: head.Mesh, vertices: Floats) -> Floats:
    """Returns morphed vertices moved and scaled so that eyes and forehead lie where the base mesh has them.

    People differ in height and in the size of the head; hair, hats and hands are placed by the base mesh's measures.
    """
    fixed = np.flatnonzero((mesh.vertices[:, 1] > 7.2) & (mesh.masks["ears"] < 0.1))
    base, own = mesh.vertices[fixed], vertices[fixed]
    scale = float(np.linalg.norm(base - base.mean(0)) / np.linalg.norm(own - own.mean(0)))
    return ((vertices - own.mean(0)) * np.float32(scale) + base.mean(0)).astype(np.float32)


def draw_figure(rng: np.random.Generator, whole: bool = False, look: Look = EVERYDAY) -> Figure:
    """Draws an adult with all that is worn in a look, with legs if `whole`."""
    mesh = head.load()
    person = head.draw_person(rng)
    looks = paint.draw_looks(rng, person)
    style = hairstyle.draw_style(rng, person)
    garment = clothes.draw_garment(rng, person, look)
    painted = paint.draw_paint(rng, person, looks, style.recede)
    morphed = aligned(mesh, head.morph(mesh, person, head.draw_expression(rng)))

    worn = str(rng.choice(("none", *headwear.KINDS), p=[0.8, 0.07, 0.015, 0.04, 0.05, 0.025]))
    if worn == "hood" and garment.kind not in ("hoodie", "jacket", "sweater"):
        worn = "none"
    if worn != "none":  # What is worn on the head presses the hair down.
        calm = {"none": "none", "down": "down", "tied": "down"}.get(style.comb, "buzz")
        style = hairstyle.Style(
            calm, min(style.volume, 0.03), max(style.length, 2.5), style.cut, style.part, style.wave
        )
    sun = rng.random() < look.sunglasses
    glasses = eyewear.draw_glasses(rng, sun) if sun or rng.random() < look.glasses else None

    normals = raster.vertex_normals(morphed, mesh.faces["body"])
    share, deep = hair.scalp_share(mesh, painted)
    swollen = hair.swell(rng, mesh, morphed, normals, deep, style)
    dressed = drape.worn(garment, mesh, swollen, normals)
    made = [_own(mesh, dressed, "body", Material.SKIN), _own(mesh, morphed, "eye", Material.EYE)]
    made += [_own(mesh, morphed, "teeth", Material.TEETH), _own(mesh, morphed, "tongue", Material.TONGUE)]
    if person.male < 0.5 and looks.make_up > 0.25:
        made.append(_own(mesh, morphed, "lashes", Material.LASHES, two_sided=True))
    made += hair.build(rng, mesh, dressed, normals, share, style)
    made += clothes.collars(rng, garment, mesh, morphed, look)
    if whole:
        made += clothes.legs(rng, mesh, garment, linear(looks.skin))
    if worn != "none":
        made += headwear.build(rng, mesh, morphed, worn, garment.colours[0])
    lens = None
    if glasses is not None:
        frame, lens = eyewear.build(rng, mesh, morphed, glasses)
        made += frame
    bald = 1.0 if style.comb == "none" else 0.45 if style.comb == "buzz" and worn == "none" else 0.0
    return Figure(person, looks, painted, style, garment, glasses, morphed, made, lens, bald, whole)


@dataclass
class Posed:
    """A figure in camera space (x right, y up, z to the camera), face at the origin.

    Attributes:
        body: The asset's vertices, float32 (V, 3).
        scene: All surfaces but the lenses; `lens` the lenses.
        camera: Where the camera is, float32 (3,).
        gaze, eyes: Directions (2, 3) and middles (2, 3) of the left and the right eye; `eye_size` their radius.
    """

    figure: Figure
    body: Floats
    scene: parts.Scene
    lens: parts.Scene | None
    camera: Floats
    gaze: Floats
    eyes: Floats
    eye_size: float


def shade(posed: Posed, triangles: NDArray[np.int32], a: Floats, lit: Floats, light: Light) -> Floats:
    """Returns the linear RGB (P, 3) of visible points.

    Args:
        triangles: Which triangle of the scene each is on, (P,).
        a: Their attributes, (P, 15) as in `parts.Scene`; normals are turned to the camera here.
        lit: Share of the key light that arrives, (P,).
    """
    figure, camera = posed.figure, posed.camera
    looks, garment = figure.looks, figure.garment
    a[:, NORMAL] = skin.unit(a[:, NORMAL])
    view = skin.view_vectors(a[:, parts.POSITION], camera)
    backward = (skin.dot(a[:, NORMAL], view)[:, 0] < 0) & posed.scene.two_sided[triangles]
    a[backward, NORMAL] *= -1
    material = posed.scene.material[triangles]
    colour = np.zeros((len(a), 3), np.float32)
    strand = linear(looks.hair)
    gloss = 0.7

    body = np.flatnonzero(material == Material.SKIN)
    if len(body):
        cover = clothes.cover(garment, a[body, REST])
        shown, _ = clothes.inner_colour(garment, a[body, REST])
        low = a[body, REST][:, 1] < 6.15
        clothed = ((cover > 0) | (shown > 0)) & low
        cloth, bare = body[clothed], body[~clothed]
        colour[cloth] = materials.shade_cloth(a[cloth], lit[cloth], light, garment)
        near = np.where(low, np.clip(1 + cover / 0.12, 0, 1), 0)[~clothed] * 0.4
        colour[bare] = skin.shade_skin(a[bare], lit[bare], light, camera, looks, figure.painted, figure.bald)
        colour[bare] *= (1 - near)[:, None]
    for kind in (Material.EYE, Material.TEETH, Material.TONGUE, Material.LASHES, Material.HAIR, Material.CLOTH,
                 Material.HAT, Material.PLASTIC):  # fmt: skip
        at = np.flatnonzero(material == kind)
        if not len(at):
            continue
        b, bright = a[at], lit[at]
        if kind == Material.EYE:
            colour[at] = skin.shade_eye(b, bright, light, camera, looks, posed.gaze, posed.eyes, posed.eye_size)
        elif kind == Material.TEETH:
            colour[at] = materials.shade_teeth(b, bright, light, camera)
        elif kind == Material.TONGUE:
            colour[at] = skin.matte(b, np.array([0.3, 0.08, 0.07], np.float32), bright * 0.5, light)
        elif kind == Material.LASHES:
            colour[at] = 0.012
        elif kind == Material.HAIR:
            albedo = materials.lock_albedo(b, strand, garment.grain)
            colour[at] = materials.shade_hair(b, b[:, EXTRA][:, :3], albedo, bright, light, camera, gloss)
        elif kind == Material.PLASTIC:
            colour[at] = materials.shade_plastic(b, bright, light, camera)
        else:
            colour[at] = materials.shade_fabric(b, bright, light, garment.grain)
    return colour


def place(figure: Figure, held: list[Part], posture: pose.Pose, camera: Floats, roll: float) -> Posed:
    """Poses a figure and turns it into the space of a camera that looks at the face.

    Args:
        held: Further parts, such as a phone.
        camera: Where the camera is from the middle of the face, in the body's frame, decimetres (3,).
        roll: By how much the camera is turned about its axis, radians.
    """
    mesh = head.load()
    transforms = pose.bone_transforms(mesh, figure.morphed, posture)

    def moved(vertices: Floats, bones: NDArray[np.int32], weights: Floats) -> Floats:
        return pose.skin(vertices, bones, weights, transforms)

    body = moved(figure.morphed, mesh.skin_bones, mesh.skin_weights)
    middle = body[face_patch()].mean(0)
    distance = float(np.linalg.norm(camera))
    back = camera / distance
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    frame = np.stack([right, np.cross(back, right), back])
    frame = pose.rotation(0, 0, roll).T @ frame
    frame = frame.astype(np.float32)

    def seen(part: Part) -> Floats:
        return (moved(part.vertices, part.bones, part.weights) - middle) @ frame.T

    surfaces = [_turned(p, transforms, frame) if p.material == Material.HAIR else p for p in figure.parts + held]
    scene = parts.join(surfaces, [seen(p) for p in surfaces])
    lens = parts.join([figure.lens], [seen(figure.lens)]) if figure.lens is not None else None
    body = ((body - middle) @ frame.T).astype(np.float32)
    eyes = np.stack([body[e].mean(0) for e in mesh.eyes]).astype(np.float32)
    size = float(np.linalg.norm(body[mesh.eyes[0]] - eyes[0], axis=1).mean())
    at = np.array([0, 0, distance], np.float32)
    forward = (frame @ posture.head @ [0, 0, 1]).astype(np.float32)
    gaze = at - eyes
    gaze /= np.linalg.norm(gaze, axis=1, keepdims=True)
    aside = np.arccos(np.clip(gaze @ forward, -1, 1))[:, None]
    gaze = forward + (gaze - forward) * np.minimum(1, 0.45 / np.maximum(aside, 1e-3))
    gaze /= np.linalg.norm(gaze, axis=1, keepdims=True)
    return Posed(figure, body, scene, lens, at, gaze.astype(np.float32), eyes, size)


def _turned(part: Part, transforms: tuple[NDArray[np.float64], NDArray[np.float64]], frame: Floats) -> Part:
    """Returns hair whose given normals and tangents (extra 0:3) moved with its bones into camera space."""
    still = (transforms[0], np.zeros_like(transforms[1]))
    extra = part.extra.copy()
    extra[:, :3] = pose.skin(part.extra[:, :3], part.bones, part.weights, still) @ frame.T
    normals = part.normals
    if normals is not None:
        normals = pose.skin(normals, part.bones, part.weights, still) @ frame.T
    return replace(part, extra=extra, normals=normals)
