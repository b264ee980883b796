"""How hair is cut and combed."""

from dataclasses import dataclass

import numpy as np

from selfie_renderer import head


@dataclass(frozen=True)
class Style:
    """How hair is cut and combed; lengths in decimetres.

    Attributes:
        comb: `none` (bald), `buzz`, `side`, `forward`, `up`, `back`, `curls`, `down` or `tied`.
        volume: How far the filled scalp stands off the skull.
        length: Length of the locks; those of `down` end at the height `cut` of the rest mesh.
        cut: Height where locks are cut, if they get there.
        part: Where hair parts (x); `down` and `side` fall away from it.
        wave: Amplitude of waves or curls.
        fringe: Whether front hair is combed over the forehead.
        veil: -1 or 1 lets hair fall over the eye on that side (x); 0 keeps it out of the face.
        tail: For `tied`: length of the tail, 0 for a bun.
        recede: How far the temples recede, 0..1.
    """

    comb: str
    volume: float
    length: float
    cut: float = 0.0
    part: float = 0.0
    wave: float = 0.0
    fringe: bool = False
    veil: int = 0
    tail: float = 0.0
    recede: float = 0.0


def draw_style(rng: np.random.Generator, person: head.Person) -> Style:
    """Draws a style that goes with sex, age and origin."""
    frizzy = person.race[0] > 0.55
    part = float(rng.choice([0.0, -0.25, 0.25]) + rng.normal(0, 0.05))
    wave = float(rng.choice([0.0, 0.03, 0.08], p=[0.45, 0.35, 0.2])) * (2.0 if frizzy else 1.0)
    if person.male > 0.5:
        age = float(np.clip((person.age - 30) / 35, 0, 1))
        names = ["none", "buzz", "side", "forward", "up", "back", "curls", "down"]
        odds = np.array([0.03 + 0.2 * age, 0.14, 0.34, 0.15, 0.09 * (1 - age), 0.12, 0.06, 0.05])
        if frizzy:
            odds = np.array([0.06 + 0.2 * age, 0.45, 0.03, 0.03, 0.05, 0.03, 0.25, 0.04])
        comb = str(rng.choice(names, p=odds / odds.sum()))
        recede = float(np.clip(rng.normal(0.15 + 0.6 * age, 0.25), 0, 1)) if comb != "down" else 0.0
        length = {"side": 0.65, "forward": 0.5, "up": 0.35, "back": 0.9, "curls": 0.35, "down": 2.5}.get(comb, 0)
        volume = {"buzz": 0.015, "curls": rng.uniform(0.08, 0.3), "down": 0.1}.get(comb, rng.uniform(0.05, 0.16))
        cut = float(rng.uniform(5.4, 6.6))
        return Style(comb, float(volume) if comb != "none" else 0.0, length * rng.uniform(0.7, 1.25), cut, part, wave,
                     recede=recede, fringe=comb == "down" and rng.random() < 0.3)  # fmt: skip
    odds = np.array([0.6, 0.2, 0.07, 0.05, 0.06, 0.02] if not frizzy else [0.38, 0.2, 0.32, 0.02, 0.02, 0.06])
    comb = str(rng.choice(["down", "tied", "curls", "side", "back", "buzz"], p=odds))
    fringe = comb in ("down", "tied") and rng.random() < 0.32
    veil = int(rng.choice([-1, 1])) if comb == "down" and not fringe and rng.random() < 0.12 else 0
    if veil:
        part = -0.4 * veil
    cut = float(rng.choice([rng.uniform(6.0, 6.6), rng.uniform(5.0, 5.8), rng.uniform(3.0, 4.8)], p=[0.22, 0.28, 0.5]))
    length = {"down": 5.5, "tied": 2.0, "curls": 0.45, "side": 0.8, "back": 1.0, "buzz": 0.0}[comb]
    volume = {"curls": rng.uniform(0.15, 0.6), "tied": 0.05, "buzz": 0.015}.get(comb, rng.uniform(0.08, 0.17))
    tail = float(rng.choice([0.0, rng.uniform(1.5, 3.5)])) if comb == "tied" else 0.0
    return Style(comb, float(volume), length, cut, part, wave, fringe, veil, tail)
