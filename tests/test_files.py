"""Writing: nothing half-written, no input overwritten, errors that name the place, names that never collide."""

import errno
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from asr.data.report_names import report_names
from asr.errors import InputError
from asr.files import atomic_write, explained, fold, keep_inputs, moved_into, refuse_foreign


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_write(path) as file:
        file.write("half")
        raise KeyError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_killed_process_leaves_one_temporary_file_for_the_next(tmp_path: Path) -> None:
    code = "import os; from asr.files import atomic_write\nwith atomic_write('a.txt') as f: f.write('half' * 9999); os._exit(9)"  # noqa: E501
    for _ in range(3):
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
        assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env).returncode == 9
    assert len(os.listdir(tmp_path)) == 1
    with atomic_write(tmp_path / "a.txt") as file:
        file.write("new")
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "new"


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt") as one:
        one.write("one")
        with atomic_write(tmp_path / "a.txt") as other:
            other.write("other")
        one.write(" whole")
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "one whole"


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".building-killed").mkdir()
    (tmp_path / ".building-killed" / "graph.bin").write_text("half")
    with moved_into(tmp_path, ()) as folder:
        (folder / "words.txt").write_text("new")
    assert os.listdir(tmp_path) == ["words.txt"]


def test_a_full_disk_names_the_file_that_was_written(tmp_path: Path) -> None:
    for number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(OSError) as caught, atomic_write(tmp_path / "a.txt"):
            raise OSError(number, os.strerror(number))  # as write(2) fails: without a name
        assert caught.value.filename == str(tmp_path / "a.txt")
        assert str(explained(caught.value)).startswith(f"{os.strerror(number)}: {tmp_path}/a.txt; make room there")


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "a.txt"):
        open(tmp_path / "input.txt").close()
    assert caught.value.filename == str(tmp_path / "input.txt")


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    cases = {
        tmp_path / "folder": "it is a folder; name a file",
        tmp_path / "file" / "a.txt": f"{tmp_path}/file; it is not a folder",
        tmp_path / "file" / "b" / "a.txt": "a part of this path is a file",
        tmp_path / ("n" * 300): "choose a shorter name",
    }
    for path, remedy in cases.items():
        with pytest.raises(OSError) as caught, atomic_write(path):
            pass
        assert str(tmp_path) in str(explained(caught.value)) and remedy in str(explained(caught.value))
    longest = tmp_path / ("é" * 127)  # 254 bytes, which the file system allows
    with atomic_write(longest) as file:
        file.write("x")
    assert longest.exists()
    assert explained(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None  # a bug, or a message of its own


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(OSError) as caught, atomic_write(tmp_path / "closed" / "a.txt"):
        pass
    assert f"{tmp_path}/closed/a.txt; change the permissions" in str(explained(caught.value))


def test_an_interrupted_move_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New words with an old graph.bin would recognise wrong words; without graph.bin the reader refuses the folder."""
    for name in ("graph.bin", "words.txt"):
        (tmp_path / name).write_text("old")
    replace = Path.replace

    def stop(path: Path, target: Path) -> Path:
        if path.suffix == ".bin":
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt), moved_into(tmp_path, ()) as folder:
        for name in ("graph.bin", "words.txt"):
            (folder / name).write_text("new")
    assert (tmp_path / "words.txt").read_text() == "new" and not (tmp_path / "graph.bin").exists()


def test_an_input_is_recognised_in_every_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "in.txt"
    source.write_text("text")
    (tmp_path / "sub").mkdir()
    (tmp_path / "soft").symlink_to(source)
    (tmp_path / "hard").hardlink_to(source)
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    for name in ("in.txt", "./in.txt", "sub/../in.txt", str(source), "soft", "hard", "sub/up/in.txt"):
        with pytest.raises(InputError, match="is also an input"):
            keep_inputs([name], ["in.txt"])
        with pytest.raises(InputError, match="is also an input"):
            keep_inputs(["in.txt"], [None, name])
    keep_inputs(["other.txt", "sub/in.txt"], ["in.txt", "missing.txt"])
    with pytest.raises(InputError, match="is also an input"):
        keep_inputs(["in.txt"], ["soft:17"])
    with pytest.raises(InputError, match="missing.txt is also an input"):
        keep_inputs(["missing.txt"], ["sub/../missing.txt"])


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    keep_inputs([tmp_path / "a", tmp_path / "b"], [])
    with pytest.raises(InputError, match="are one file"):
        keep_inputs([tmp_path / "a", f"{tmp_path}/./a"], [])


def test_a_folder_with_foreign_files_is_refused(tmp_path: Path) -> None:
    refuse_foreign(tmp_path / "missing", ("*.npy",), "asr features")
    (tmp_path / "u.npy").touch()
    (tmp_path / ".hidden").touch()
    refuse_foreign(tmp_path, ("*.npy",), "asr features")
    (tmp_path / "talk.wav").touch()
    with pytest.raises(InputError, match=r"holds files that `asr features` does not write \(talk.wav\)"):
        refuse_foreign(tmp_path, ("*.npy",), "asr features")


def test_reports_of_equal_names_differ(tmp_path: Path) -> None:
    def names(*paths: str) -> list[str]:
        return report_names(paths, tmp_path)

    assert names("x/a.jsonl", "y/a.jsonl", "b.jsonl") == ["x-a", "y-a", "b"]
    assert names("p/x/a.jsonl", "q/x/a.jsonl") == ["p-x-a", "q-x-a"]
    assert names("x/a.jsonl", "y/A.jsonl") == ["x-a", "y-A"]
    nfc, nfd = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    assert names(f"x/{nfc}.jsonl", f"y/{nfd}.jsonl") == [f"x-{nfc}", f"y-{nfd}"]
    for paths in (["x/a.jsonl", "y/a.jsonl", "x-a.jsonl"], ["a.jsonl", "a.json"], ["a.jsonl", "A.jsonl"]):
        assert len({fold(name) for name in names(*paths)}) == len(paths)
    with pytest.raises(InputError, match="a.jsonl is named twice"):
        names("a.jsonl", "./a.jsonl")
