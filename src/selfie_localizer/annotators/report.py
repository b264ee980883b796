"""What the stage says of its run: `reports/annotate.json`, and one line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfie_localizer import files
from selfie_localizer.errors import UserError
from selfie_localizer.photos import listing

FILE = Path("reports/annotate.json")
# No list in the report names more files.
NAMED = 50


class Report:
    """Counts files and what annotators say of them, and names some of those that a person may want to look at.

    Args:
        annotators: Names of the annotators, with what else is to be told of each.
        passed_over: Paths of the files that are no photos, by reason; see `listing.list_photos`.
    """

    def __init__(self, annotators: Mapping[str, Mapping[str, Any]], passed_over: dict[str, list[str]]) -> None:
        self._passed_over = passed_over
        self._annotators: dict[str, dict[str, Any]] = {
            name: {**more, "asked": 0, "found": 0, "nothing_seen": _Named()} for name, more in annotators.items()
        }
        self._unreadable: dict[str, _Named] = {}
        self._images = {"images": 0, "readable": 0, "found": 0}
        self._negatives = {"images": 0, "readable": 0}

    def add_image(self, image: str, error: str | None, seen: Mapping[str, bool]) -> None:
        """Adds a photo: why it cannot be used, or which annotators saw a face and which saw none."""
        if not self._is_readable(self._images, image, error):
            return
        self._images["found"] += any(seen.values())
        for name, has_face in seen.items():
            told = self._annotators[name]
            told["asked"] += 1
            if has_face:
                told["found"] += 1
            else:
                told["nothing_seen"].add(image)

    def add_negative(self, image: str, error: str | None) -> None:
        """Adds a picture without any face, about which nobody is asked."""
        self._is_readable(self._negatives, image, error)

    def _is_readable(self, counts: dict[str, int], image: str, error: str | None) -> bool:
        counts["images"] += 1
        counts["readable"] += error is None
        if error is not None:
            self._unreadable.setdefault(error, _Named()).add(image)
        return error is None

    def write(self, root: Path) -> None:
        """Writes the report.

        Raises:
            UserError: None of the images can be read.
        """
        annotators = {
            name: {**told, "nothing_seen": told["nothing_seen"].content()} for name, told in self._annotators.items()
        }
        reasons = {reason: named.content() for reason, named in self._unreadable.items()}
        content = {
            **self._images,
            "negatives": self._negatives,
            "annotators": annotators,
            "unreadable": {"count": sum(named.count for named in self._unreadable.values()), "reasons": reasons},
            "passed_over": {reason: _Named(names).content() for reason, names in self._passed_over.items()},
        }
        files.write_json(root / FILE, content)
        if not self._images["readable"]:
            raise UserError(
                f"{root / 'data/images'}: none of the {self._images['images']:,} images can be read{self._reasons()}; "
                f"see {root / FILE}; {listing.MEND}"
            )

    def line(self, asked: int) -> str:
        """Returns what a person should know of the run; `asked` is the number of photos that the cache did not know."""
        counts = self._images
        share = counts["found"] / max(counts["readable"], 1)
        parts = [f"a face on {counts['found']:,} of {counts['readable']:,} images ({share:.0%})"]
        if len(self._annotators) > 1:
            parts[0] += " by " + ", ".join(f"{name} {told['found']:,}" for name, told in self._annotators.items())
        unreadable = sum(named.count for named in self._unreadable.values())
        parts += [f"{unreadable:,} unreadable{self._reasons()}"] if unreadable else []
        parts += [listing.passed_over(self._passed_over)] if self._passed_over else []
        return "; ".join([*parts, f"{asked:,} new", f"see {FILE}"])

    def _reasons(self) -> str:
        """Returns the reason that most unreadable files have, e.g. ` (12: a HEIC image: ...)`, and how many others."""
        reason, named = max(self._unreadable.items(), key=lambda item: item[1].count)
        others = len(self._unreadable) - 1
        more = f", and {others:,} other {'reason' if others == 1 else 'reasons'}" if others else ""
        return f" ({named.count:,}: {reason}{more})"


class _Named:
    """A number of files, the first of them by name."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.count, self._names = len(names), list(names[:NAMED])

    def add(self, name: str) -> None:
        self.count += 1
        if len(self._names) < NAMED:
            self._names.append(name)

    def content(self) -> dict[str, Any]:
        return {"count": self.count, "files": self._names}
