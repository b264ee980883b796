"""Numbers and lists of numbers as tools write them, read as text and never run."""

import re
from collections.abc import Sequence
from decimal import Decimal, DecimalException

Four = tuple[str, str, str, str]

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?")
_BRACKETS = re.compile(r"\[(.*)\]|\((.*)\)", re.DOTALL)
_NESTED = re.compile(r"\[([^\[\]]*)\],?")
_ARRAY = re.compile(
    r"(?:(?:np|numpy)\.)?(?:array|tensor)\(\s*([\[(].*[\])])\s*(?:,\s*(?:dtype|shape)=[^\[\]]*)?\)", re.DOTALL
)
_SCALAR = re.compile(r"(?:(?:np|numpy)\.)?(?:float|int|uint)[0-9]*\(([^()]*)\)")


def is_number(text: str) -> bool:
    """Tells whether a text is a finite decimal number, as Python writes one; `nan`, `inf` and `1_000` are none."""
    return _NUMBER.fullmatch(text) is not None


def with_point(text: str) -> str:
    """Returns a number with a decimal comma as one with a point; any other text as it is."""
    return text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text


def split_list(text: str) -> Four:
    """Returns the four members of a list as texts.

    Read are lists and tuples with commas or, as NumPy prints them, blanks; NumPy's `array(...)` and, since version 2,
    `np.float64(...)`; members in quotes.

    Returns:
        The members; the whole text and three empty ones where it is no list of four.
    """
    whole = text.strip()
    array = _ARRAY.fullmatch(whole)
    found = _BRACKETS.fullmatch(array[1] if array else whole)
    inside = ((found[1] if found[1] is not None else found[2]) if found else "").strip()
    # An array of one box is written with two pairs of brackets.
    nested = _NESTED.fullmatch(inside)
    inside = nested[1].strip() if nested else inside
    if "[" in inside or "]" in inside:
        return whole, "", "", ""
    inside = inside.removesuffix(",")
    # Commas as Python writes a list, or blanks as NumPy writes an array.
    members = [_member(member) for member in (inside.split(",") if "," in inside else inside.split())]
    return (members[0], members[1], members[2], members[3]) if len(members) == 4 else (whole, "", "", "")


def corners(texts: Sequence[str], centred: bool) -> Four:
    """Returns `x1,y1,x2,y2` of `x,y,width,height`, exactly as decimal numbers.

    A pair of which one is no number stays as it was written, so that what is wrong can be named.

    Args:
        texts: The four numbers as written.
        centred: Whether x and y are the centre instead of the upper left corner.
    """
    x1, x2 = _span(texts[0], texts[2], centred)
    y1, y2 = _span(texts[1], texts[3], centred)
    return x1, y1, x2, y2


def _span(start: str, length: str, centred: bool) -> tuple[str, str]:
    if not (is_number(start) and is_number(length)):
        return start, length
    first, size = Decimal(start), Decimal(length)
    try:
        return (str(first - size / 2), str(first + size / 2)) if centred else (start, str(first + size))
    except DecimalException:
        # Too large for any arithmetic, and so for any picture.
        return start, length


def _member(text: str) -> str:
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"":
        bare = bare[1:-1].strip()
    scalar = _SCALAR.fullmatch(bare)
    return scalar[1].strip() if scalar else bare
