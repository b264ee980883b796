import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from selfie_renderer import clothes, figure, hair, hairstyle, head, paint, parts, pose, raster, truth
from selfie_renderer.hairstyle import Style
from selfie_renderer.looks import EVENING, EVERYDAY, Look

STYLES = {
    "long": Style("down", 0.1, 5.5, 4.0, part=0.2),
    "bob": Style("down", 0.12, 5.5, 6.3, wave=0.08),
    "fringe": Style("down", 0.1, 5.5, 5.0, fringe=True),
    "veil": Style("down", 0.1, 5.5, 5.0, part=-0.4, veil=1),
    "short": Style("side", 0.1, 0.7),
    "curls": Style("curls", 0.3, 0.4, wave=0.16),
    "tail": Style("tied", 0.05, 2.0, tail=2.5),
    "bun": Style("tied", 0.05, 2.0),
}


def _locks(style: Style, seed: int) -> list[parts.Part]:
    """All locks of a person drawn by a seed."""
    rng = np.random.default_rng(seed)
    mesh = head.load()
    person = head.draw_person(rng)
    painted = paint.draw_paint(rng, person, paint.draw_looks(rng, person), 0.0)
    vertices = figure.aligned(mesh, head.morph(mesh, person, head.draw_expression(rng)))
    normals = raster.vertex_normals(vertices, mesh.faces["body"])
    share, deep = hair.scalp_share(mesh, painted)
    swollen = hair.swell(rng, mesh, vertices, normals, deep, style)
    return hair.build(rng, mesh, swollen, normals, share, style)


def _points(name: str, seed: int) -> NDArray[np.float32]:
    return np.concatenate([p.vertices for p in _locks(STYLES[name], seed)])


def _covered(hairs: list[parts.Part], side: int) -> float:
    """Share of an eye and the cheek below it that hair covers, seen from the front; +1 is the person's left."""
    scale = 60
    canvas = np.zeros((scale, scale), np.uint8)
    for part in hairs:
        corners = part.vertices[part.faces]
        corners = corners[corners[..., 2].mean(1) > 0.9]
        at = np.stack([(corners[..., 0] * side - 0.08) / 0.42, (7.45 - corners[..., 1]) / 0.95], -1) * scale
        for triangle in np.round(at).astype(np.int32):
            cv2.fillConvexPoly(canvas, triangle, 1)
    return float(canvas.mean())


@pytest.mark.parametrize("name", [n for n in STYLES if n != "veil"])
def test_hair_never_hangs_before_the_face_by_accident(name: str) -> None:
    for seed in range(4):
        hairs = _locks(STYLES[name], seed)
        assert max(_covered(hairs, side) for side in (-1, 1)) < 0.15, seed


def test_a_veil_hangs_before_one_eye_only() -> None:
    for seed in range(4):
        hairs = _locks(STYLES["veil"], seed)
        assert _covered(hairs, 1) > 0.4
        assert _covered(hairs, -1) < 0.15


def test_long_hair_reaches_lower_than_a_bob_and_a_bob_lower_than_short_hair() -> None:
    lowest = [np.quantile(_points(name, 1)[:, 1], 0.02) for name in ("long", "bob", "short")]
    assert lowest[0] + 1 < lowest[1] < lowest[2]


def test_a_fringe_covers_the_forehead() -> None:
    def over_the_forehead(name: str) -> float:
        x, y, z = _points(name, 2).T
        return float(((np.abs(x) < 0.35) & (y > 7.55) & (y < 7.9) & (z > 1.2)).mean())

    assert over_the_forehead("fringe") > 5 * over_the_forehead("long") + 0.01


def test_bald_heads_grow_nothing() -> None:
    mesh = head.load()
    for comb in ("none", "buzz"):
        style = Style(comb, 0.0, 0.0)
        share = np.ones(len(mesh.vertices), np.float32)
        assert hair.build(np.random.default_rng(0), mesh, mesh.vertices, mesh.vertices, share, style) == []


def test_everyone_is_dressed() -> None:
    mesh = head.load()
    x, y, _ = mesh.vertices.T
    body = np.zeros(len(x), bool)
    body[mesh.faces["body"].ravel()] = True
    torso = mesh.vertices[body & (np.abs(x) < 1.0) & (y < 4.4)]
    face = mesh.vertices[truth.face_patch()]
    kinds = set()
    for seed in range(150):
        rng = np.random.default_rng(seed)
        garment = clothes.draw_garment(rng, head.draw_person(rng))
        kinds.add(garment.kind)
        shown, _ = clothes.inner_colour(garment, torso)
        assert ((clothes.cover(garment, torso) > 0) | (shown > 0)).all(), garment.kind
        assert (clothes.cover(garment, face[face[:, 1] > 6.2]) < 0).all(), garment.kind
    assert len(kinds) == 10


def test_whoever_is_wrapped_up_wears_sleeves() -> None:
    def kinds(look: Look) -> set[str]:
        people = (np.random.default_rng(seed) for seed in range(300))
        return {clothes.draw_garment(rng, head.draw_person(rng), look).kind for rng in people}

    assert kinds(EVERYDAY) - kinds(EVENING) == {"tank", "straps", "bare shoulders"}


def _scarf_top(look: Look, seed: int) -> float:
    """Height in front of the base mesh up to which a scarf reaches; -inf without one."""
    rng, mesh = np.random.default_rng(seed), head.load()
    garment = clothes.draw_garment(rng, head.draw_person(rng), look)
    # What else stands off the body belongs to these garments.
    bare = garment.kind in ("shirt", "suit", "hoodie", "jacket")
    made = [] if bare else clothes.collars(rng, garment, mesh, mesh.vertices, look)
    front = [p.vertices[(np.abs(p.vertices[:, 0]) < 0.2) & (p.vertices[:, 2] > 0.5), 1].max() for p in made]
    return float(max(front, default=-np.inf))


def test_an_evening_s_scarf_covers_the_chin_and_leaves_half_of_the_mouth_free() -> None:
    mesh = head.load()
    mouth = mesh.vertices[(mesh.masks["lips"] > 0.5) & (np.abs(mesh.vertices[:, 0]) < 0.05), 1].mean()
    evening = [_scarf_top(EVENING, seed) for seed in range(60)]
    worn = [top for top in evening if np.isfinite(top)]
    assert len(worn) > 20
    assert min(worn) > truth.CHIN
    assert max(worn) < mouth
    everyday = [top for seed in range(300) if np.isfinite(top := _scarf_top(EVERYDAY, seed))]
    assert 3 < len(everyday) < 40
    assert max(everyday) < truth.CHIN


def test_people_are_adults_of_both_sexes_and_all_origins() -> None:
    people = [head.draw_person(np.random.default_rng(seed)) for seed in range(400)]
    assert min(p.age for p in people) >= 18
    assert 0.3 < np.mean([p.male > 0.5 for p in people]) < 0.6
    assert (np.mean([p.race for p in people], 0) > 0.2).all()


def test_a_generator_s_state_decides_the_whole_figure() -> None:
    one, other = (figure.draw_figure(np.random.default_rng(4)) for _ in range(2))
    assert one.style == other.style
    for first, second in zip(one.parts, other.parts, strict=True):
        np.testing.assert_array_equal(first.vertices, second.vertices)


def test_heads_of_all_people_lie_where_hair_and_hats_are_placed() -> None:
    mesh = head.load()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        vertices = figure.aligned(mesh, head.morph(mesh, head.draw_person(rng), {}))
        eyes = np.stack([vertices[e].mean(0) for e in mesh.eyes])
        np.testing.assert_allclose(eyes[:, 1], 7.28, atol=0.2)
        body = vertices[mesh.faces["body"].ravel()]
        assert body[:, 1].max() == pytest.approx(8.49, abs=0.25)


def test_every_surface_is_well_formed() -> None:
    for seed in range(12):
        made = figure.draw_figure(np.random.default_rng(seed))
        for part in [*made.parts, *([made.lens] if made.lens is not None else [])]:
            assert part.faces.min() >= 0
            assert part.faces.max() < len(part.vertices)
            assert np.isfinite(part.vertices).all()
            np.testing.assert_allclose(part.weights.sum(1), 1, atol=0.02)
            assert part.extra.shape == (len(part.vertices), 4)


def test_a_whole_person_stands_on_feet() -> None:
    for seed in range(6):
        lowest = [
            min(part.vertices[:, 1].min() for part in figure.draw_figure(np.random.default_rng(seed), whole).parts)
            for whole in (False, True)
        ]
        assert lowest[0] > -1
        assert lowest[1] == pytest.approx(-8.1, abs=0.3)  # Heads are at 8.5, and people 7 to 8 heads high.


def test_fingers_bend_together_or_each_by_itself() -> None:
    mesh = head.load()

    def bent(grip: dict[str, float]) -> set[str]:
        rotations, _ = pose.bone_transforms(mesh, mesh.vertices, pose.Pose(np.eye(3), {}, grip))
        names = [name for name, r in zip(mesh.bones, rotations, strict=True) if np.abs(r - np.eye(3)).max() > 0.1]
        return {name.split("_")[0] for name in names}

    assert bent({"l": 1.0}) == {"index", "middle", "ring", "pinky"}
    assert bent({"l": 0.0, "ring_l": 1.8, "pinky_l": 1.8}) == {"ring", "pinky"}


def test_many_styles_are_drawn() -> None:
    drawn = [hairstyle.draw_style(r, head.draw_person(r)) for r in map(np.random.default_rng, range(300))]
    assert {s.comb for s in drawn} == {"none", "buzz", "side", "forward", "up", "back", "curls", "down", "tied"}
    assert 0.0 < np.mean([s.veil != 0 for s in drawn]) < 0.08
    assert np.mean([s.comb == "none" for s in drawn]) < 0.15


def test_layers_that_cut_through_each_other_meet_in_a_clean_line() -> None:
    """Two slanted squares cross; each half of the picture shows the nearer one."""
    points = np.array([[0, 0], [40, 0], [40, 40], [0, 40]] * 2, np.float32)
    depth = np.array([5, 7, 7, 5, 7, 5, 5, 7], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    layers = np.array([0, 0, 1, 1], np.uint8)
    ids = raster.rasterize(points, depth, faces, np.ones(4, bool), 40, 40, layers)
    assert np.isin(ids[1:-1, 2:18], [0, 1]).all()
    assert np.isin(ids[1:-1, 22:38], [2, 3]).all()


def test_attributes_are_interpolated_with_perspective() -> None:
    points = np.array([[0, 0], [40, 0], [40, 40], [0, 40]], np.float32)
    depth = np.array([2, 6, 6, 2], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    values = np.array([[0], [1], [1], [0]], np.float32)
    ids = raster.rasterize(points, depth, faces, np.ones(2, bool), 40, 40)
    at, _, got = raster.interpolate(ids, points, depth, faces, values)
    middle = got[np.isin(at, 20 * 40 + np.arange(20, 21)), 0]
    # Half way in the picture is a quarter of the way in depth: (1/6) / (1/2 + 1/6).
    assert middle == pytest.approx(0.25, abs=0.02)
