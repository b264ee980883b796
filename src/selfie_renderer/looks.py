"""Looks: how the owner of a camera takes selfies, and with what. One is what weights learn from, the others are apart.

`EVERYDAY` has the variety of many people's selfies; starter weights are learned from nothing else. `EVENING` is one
person's way: an autumn evening among friends, wrapped up to the chin in thick scarves, taken upright from straight in
front through a wide-angle lens, with one app's filter. How much its pictures differ is in `stretch` (where points lie),
`dusk` (their light and colour) and `wrapped` (a chin that is half hidden). It is set so that the first model and Haar
find before any training what they find on real selfies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Look:
    """How pictures are taken; shares are of all pictures.

    Attributes:
        shapes: Shorter over longer side, and how often.
        landscape: Share of the pictures that are wider than high.
        kinds: Held at arm's length, in a mirror, or taken by someone else: how often.
        arm: Distance of a camera held at arm's length from the face, from and to, decimetres.
        lift: Mean angle at which it is held above the face, radians.
        stretch: By which share a wide-angle lens moves what is in the corners outwards; below 0 inwards, as a barrel.
        face: Median side of a square as large as the face, as a share of the picture's.
        higher: By how much faces are higher in the picture than in everyday selfies, as a share of its height.
        groups: Share with one to four others.
        closeups: Share so close that the frame cuts the face, among those of one person.
        whole: Share with a person from head to foot, among those not taken at arm's length.
        pages: Share of collages, posters and screenshots.
        turning: How widely heads turn, nod and tilt, against everyday's 1.
        sunglasses: Share of the people who wear them.
        glasses: Share with clear ones, among the others.
        scarves: Share of the people who wear one.
        wrapped: By how much scarves reach higher in front than everyday's, decimetres; at 0.6 they hide the chin of
            some. Above 0, all clothes have sleeves.
        places: Kinds of background and how often; where empty, as `background.KINDS` says.
        dusk: How far light, exposure, noise and the filter are those of an evening, 0..1.
    """

    shapes: Mapping[float, float] = field(default_factory=lambda: {1.0: 0.5, 0.75: 0.32, 2 / 3: 0.12, 0.5625: 0.06})
    landscape: float = 0.12
    kinds: Mapping[str, float] = field(default_factory=lambda: {"arm": 0.54, "mirror": 0.08, "portrait": 0.38})
    arm: tuple[float, float] = (3.6, 6.2)
    lift: float = 0.16
    stretch: float = 0.0
    face: float = 0.42
    higher: float = 0.0
    groups: float = 0.22
    closeups: float = 0.05
    whole: float = 0.13
    pages: float = 0.06
    turning: float = 1.0
    sunglasses: float = 0.17
    glasses: float = 0.16
    scarves: float = 0.05
    wrapped: float = 0.0
    places: Mapping[str, float] = field(default_factory=dict)
    dusk: float = 0.0


EVERYDAY = Look()
EVENING = Look(
    shapes={0.5625: 0.5, 0.8: 0.5},
    landscape=0.0,
    kinds={"arm": 0.75, "portrait": 0.25},
    arm=(3.4, 5.2),
    lift=0.0,
    stretch=-0.15,
    face=0.38,
    higher=-0.03,
    groups=0.08,
    closeups=0.0,
    whole=0.0,
    pages=0.0,
    turning=0.12,
    sunglasses=0.02,
    glasses=0.08,
    scarves=1.0,
    wrapped=0.7,
    places={"room": 0.2, "bed": 0.08, "wall": 0.08, "car": 0.06, "lights": 0.18, "street": 0.12, "town": 0.08,
            "coast": 0.12, "mountains": 0.04, "park": 0.04},
    dusk=0.12,
)  # fmt: skip
LOOKS = {"everyday": EVERYDAY, "evening": EVENING}
