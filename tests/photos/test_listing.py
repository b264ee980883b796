"""Photos are found by suffix or content; what is passed over is counted by its reason."""

import os
from pathlib import Path

import pytest

from selfie_localizer.errors import UserError
from selfie_localizer.photos import listing
from selfie_localizer.photos.listing import list_photos, passed_over, printable
from tests.photos import samples

PHOTO = samples.encode(samples.quarters())


def write(folder: Path, **files: bytes) -> None:
    put(folder, files)


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def names(folder: Path, **options: object) -> list[str]:
    return [entry.name for entry in list_photos(folder, **options)[0]]


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.JPG", "a.jpeg", "a.jfif", "a.Jpe", "a.png", "a.webp", "a.HEIC", "a.heif", "deep/er/a.jpg"]
)
def test_a_file_with_an_images_suffix_is_a_photo_whatever_it_holds(tmp_path: Path, name: str) -> None:
    put(tmp_path, {name: b"not an image"})
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a", "IMG_0001.JPG_original", "a.tmp", "a.gif"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_file_with_an_images_content_is_a_photo_whatever_its_name(tmp_path: Path, name: str, form: str) -> None:
    put(tmp_path, {name: samples.encode(samples.quarters(), form)})
    assert names(tmp_path) == [name]


def test_heic_content_without_a_suffix_is_a_photo(tmp_path: Path) -> None:
    put(tmp_path, {"a": samples.turned_heic()})
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "name",
    ["._apple-double.jpg", ".hidden.jpg", ".trash/a.jpg", "b/.x/y/a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini"],
)
def test_hidden_files_and_what_systems_leave_behind_are_passed_over_in_silence(tmp_path: Path, name: str) -> None:
    put(tmp_path, {name: PHOTO, "a.jpg": PHOTO})
    entries, ignored = list_photos(tmp_path)
    assert [entry.name for entry in entries] == ["a.jpg"]
    assert ignored == {}


def test_everything_else_is_returned_by_its_reason_and_counted_in_a_line(tmp_path: Path) -> None:
    put(tmp_path, {"a.jpg": PHOTO, "v/1.MP4": b"x", "v/0.mov": b"x", "n.txt": b"", "g.gif": b"GIF89a", "o": b"zz"})
    (tmp_path / "link").symlink_to(tmp_path / "v")
    (tmp_path / "broken").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    ignored = list_photos(tmp_path)[1]
    assert ignored == {
        listing.VIDEO: ["v/0.mov", "v/1.MP4"],
        listing.OTHER: ["n.txt", "o", "pipe"],
        listing.OTHER_IMAGE: ["g.gif"],
        listing.LINK: ["link"],
        listing.UNREADABLE: ["broken"],
    }
    line = passed_over(ignored)
    assert line.startswith("8 files passed over: ")
    assert set(line.removeprefix("8 files passed over: ").split(", ")) == {
        "2 videos", "3 others", "1 image of another format", "1 link to a folder", "1 that cannot be read"
    }  # fmt: skip
    assert passed_over({}) == ""
    assert passed_over({listing.VIDEO: ["a"]}) == "1 file passed over: 1 video"


def test_entries_are_sorted_and_tell_size_and_time_of_change(tmp_path: Path) -> None:
    write(tmp_path, **{"b.jpg": b"123", "a.jpg": b"", "B.jpg": b"1"})
    (tmp_path / "c.jpg").symlink_to("nothing")
    os.utime(tmp_path / "b.jpg", ns=(5, 7))
    entries = list_photos(tmp_path)[0]
    assert [entry.name for entry in entries] == ["B.jpg", "a.jpg", "b.jpg", "c.jpg"]
    assert [entry.size for entry in entries] == [1, 0, 3, 0]
    assert [entry.changed for entry in entries[2:]] == [7, 0]


def test_links_to_files_are_followed(tmp_path: Path) -> None:
    put(tmp_path, {"in/a.jpg": PHOTO, "elsewhere/b": PHOTO})
    (tmp_path / "in/c").symlink_to(tmp_path / "elsewhere/b")
    assert names(tmp_path / "in") == ["a.jpg", "c"]


def test_a_folder_can_be_left_out(tmp_path: Path) -> None:
    put(tmp_path, {"a.jpg": PHOTO, "drawn/a.jpg": PHOTO, "x/drawn/a.jpg": PHOTO})
    assert names(tmp_path, skip=tmp_path / "drawn") == ["a.jpg", "x/drawn/a.jpg"]
    assert names(tmp_path / "drawn", skip=tmp_path / "drawn") == ["a.jpg"]


def test_a_missing_or_empty_folder_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder; put JPEG"):
        list_photos(tmp_path / "missing")
    with pytest.raises(UserError, match=r"no images; put JPEG"):
        list_photos(tmp_path)
    put(tmp_path, {"a.mp4": b""})
    with pytest.raises(UserError, match=r"no images; 1 file passed over: 1 video; put JPEG"):
        list_photos(tmp_path)


def test_an_optional_folder_may_be_missing_or_empty_but_not_a_file(tmp_path: Path) -> None:
    assert list_photos(tmp_path / "missing", optional=True) == ([], {})
    assert list_photos(tmp_path, optional=True) == ([], {})
    put(tmp_path, {"file": b""})
    with pytest.raises(UserError, match="no such folder"):
        list_photos(tmp_path / "file", optional=True)


def test_a_name_that_is_not_utf_8_is_listed_and_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(PHOTO)
    assert [printable(name) for name in names(tmp_path)] == ["\\udcff.jpg"]
