import pytest

from lessons_lib import files


def test_a_file_takes_the_place_of_an_older_one_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "one.txt"
    for text in ("first", "second"):
        with files.replacing(path) as unfinished:
            assert unfinished.name == "unfinished.one.txt"  # its ending, which tells some writers what to write
            assert not unfinished.exists()
            unfinished.write_text(text)
            assert path.exists() == (text == "second")
        assert path.read_text() == text
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_is_interrupted_leaves_the_older_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "one.txt"
    path.write_text("old")

    def write(unfinished):
        unfinished.write_text("half")
        raise error

    with pytest.raises(error), files.replacing(str(path)) as unfinished:
        write(unfinished)
    with pytest.raises(FileNotFoundError), files.replacing(path):
        pass  # nothing was written
    with pytest.raises(error), files.replacing(path):
        raise error  # nor here, and the error is told as it is
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
