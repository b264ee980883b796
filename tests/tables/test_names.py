"""Paths in tables and the files that they mean."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfie_localizer.tables.names import ImageNames, canonical

FILES = ["a.jpg", "sub/b.jpg", "sub/deep/Ü ber.jpg", "Holiday/IMG_1.JPG", "x/same.jpg", "y/same.jpg"]


@pytest.mark.parametrize(
    ("written", "file"),
    [
        ("a.jpg", "a.jpg"),
        ("  ./a.jpg ", "a.jpg"),
        ("images/a.jpg", "a.jpg"),
        ("data/images/sub/b.jpg", "sub/b.jpg"),
        ("./data/images/sub//b.jpg", "sub/b.jpg"),
        ("../data/images/a.jpg", "a.jpg"),
        ("sub\\b.jpg", "sub/b.jpg"),
        ("data\\images\\sub\\b.jpg", "sub/b.jpg"),
        ("/home/me/project/data/images/sub/b.jpg", "sub/b.jpg"),
        ("C:\\Users\\me\\photos\\sub\\b.jpg", "sub/b.jpg"),
        ("/somewhere/else/a.jpg", "a.jpg"),
        ("file:///somewhere/a.jpg", "a.jpg"),
        (unicodedata.normalize("NFD", "sub/deep/Ü ber.jpg"), "sub/deep/Ü ber.jpg"),
        ("b.jpg", "sub/b.jpg"),
        ("deep/ü BER.jpg", "sub/deep/Ü ber.jpg"),
        ("holiday/img_1.jpg", "Holiday/IMG_1.JPG"),
        ("img_1.jpg", "Holiday/IMG_1.JPG"),
        ("A.JPG", "a.jpg"),
        ("IMG_1", "Holiday/IMG_1.JPG"),
        ("x/same.jpg", "x/same.jpg"),
        ("/photos/y/same.jpg", "y/same.jpg"),
        ("same.jpg", None),
        ("same", None),
        ("other/b.jpg", None),
        ("a.png", None),
        ("none.jpg", None),
        ("", None),
        ("/", None),
        ("..", None),
        ("sub", None),
        ("sub/", None),
    ],
)
def test_a_path_finds_its_file_or_none(written: str, file: str | None) -> None:
    assert ImageNames(FILES).match(written) == file


def test_a_file_s_own_name_counts_before_all_else() -> None:
    files = ["a.jpg", "A.jpg", "images/a.jpg", "data/images/a.jpg", " a.jpg", "sub\\a.jpg", "sub/a.jpg"]
    assert ImageNames(files).match_all(files) == files


def test_two_files_in_the_two_unicode_forms_are_told_apart_by_their_own_names_alone() -> None:
    composed, decomposed = unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg")
    names = ImageNames([composed, decomposed])
    assert names.match_all([composed, decomposed]) == [composed, decomposed]
    assert names.match(f"./{composed}") is None


def test_capitals_do_not_decide_between_two_files() -> None:
    names = ImageNames(["a.jpg", "A.jpg"])
    assert names.match("a.JPG") is None


def test_a_path_that_ends_in_two_files_matches_neither() -> None:
    assert ImageNames(["a.jpg", "sub/a.jpg"]).match("/photos/sub/a.jpg") is None


def test_different_paths_of_a_table_do_not_meet_in_one_file() -> None:
    names = ImageNames(["1.jpg", "2.jpg"])
    assert names.match_all(["train/1.jpg", "test/1.jpg", "train/2.jpg", "train\\2.jpg"]) == [
        None,
        None,
        "2.jpg",
        "2.jpg",
    ]
    assert names.match_all(["1.jpg", "test/1.jpg"]) == ["1.jpg", None]
    assert names.match_all(["1.jpg", "./1.jpg", "1.JPG"]) == ["1.jpg"] * 3


part = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\0:", exclude_categories=["Cc", "Cs", "Z"]), min_size=1
)
paths = st.lists(part.filter(lambda text: text.strip(".") != ""), min_size=1, max_size=3).map("/".join)


@given(st.lists(paths, unique_by=lambda path: canonical(path).casefold(), min_size=1, max_size=6))
def test_every_file_is_found_by_its_usual_spellings(files: list[str]) -> None:
    names = ImageNames(files)
    assert names.match_all(files) == files
    for file in files:
        for spelled in (f"./{file}", f" /x/data/images/{file}", f"data\\images\\{file}".replace("/", "\\")):
            assert names.match(spelled) == file
