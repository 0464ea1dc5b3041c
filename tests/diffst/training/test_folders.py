"""A folder is there as a whole, or the older one is."""

import pytest

from diffst.training.folders import put_in_place, recovered


def folder(path, text):
    path.mkdir()
    (path / "content").write_text(text)
    return path


def test_a_new_folder_takes_the_place_of_the_older_one(tmp_path):
    place = folder(tmp_path / "last", "old")
    put_in_place(folder(tmp_path / "made", "new"), place)
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    assert (recovered(place) / "content").read_text() == "new"


def test_where_there_was_none_it_takes_the_name(tmp_path):
    place = tmp_path / "last"
    put_in_place(folder(tmp_path / "made", "new"), place)
    assert (place / "content").read_text() == "new"


def test_what_was_there_comes_back_after_a_kill_between_the_renames(tmp_path):
    place = folder(tmp_path / "last", "old")
    with pytest.raises(FileNotFoundError):
        put_in_place(tmp_path / "gone", place)
    assert not place.exists()
    assert (recovered(place) / "content").read_text() == "old"


def test_what_a_kill_left_beside_the_new_folder_is_not_taken_for_it(tmp_path):
    place = folder(tmp_path / "last", "new")
    folder(tmp_path / "last.old", "old")
    assert (recovered(place) / "content").read_text() == "new"
    put_in_place(folder(tmp_path / "made", "newer"), place)
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
