"""Recordings and results in object stores, as in files. The store is fsspec's memory; tests/test_s3.py has a server."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest
import soundfile
from logged import heard, log_of
from tiny import noise, write_bundle

from asr import hypothesis, manifest, remote
from asr.cli import main as cli
from asr.cli import partial
from asr.cli.recordings import find_recordings
from asr.cli.transcripts import File
from asr.errors import InputError
from asr.features import audio
from asr.fingerprints import digest_of_input
from asr.manifest import Utterance
from asr.remote import is_remote

RATE_HZ = 16000


def flac(seed: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(1.0, seed), RATE_HZ, format="flac")
    return file.getvalue()


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """Two recordings in the memory of fsspec."""
    memory = fsspec.filesystem("memory")
    memory.pipe({"/sounds/a.flac": flac(1), "/sounds/b.flac": flac(2)})
    yield memory
    memory.rm("/sounds", recursive=True)


@pytest.fixture(scope="module")
def asr_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    return write_bundle(folder / "model.asr")


@pytest.mark.parametrize(
    "path,wanted",
    [
        ("s3://bucket/a.flac", True),
        ("memory://a.flac", True),
        ("/data/s3://a.flac", False),
        ("s3:/bucket/a.flac", False),
        ("s3://", False),
        ("file:///etc/passwd", False),
        ("http://example.com/a.flac", False),
        ("simplecache::s3://bucket/a.flac", False),
        ("memory://a::file:///etc/passwd", False),
        ("memory://sounds/a::b.flac", True),
    ],
)
def test_only_object_stores_are_remote(path: str, wanted: bool) -> None:
    assert is_remote(path) == wanted


def test_an_object_is_heard_as_the_file_is(store: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(flac(1))
    assert (audio.load("memory://sounds/a.flac") == audio.load(tmp_path / "a.flac")).all()
    assert (audio.load("memory://sounds/a.flac", 0.2, 0.5) == audio.load(tmp_path / "a.flac", 0.2, 0.5)).all()
    assert audio.info("memory://sounds/a.flac") == audio.info(tmp_path / "a.flac")


class Cut(io.BytesIO):
    """An object whose store stops answering after `left` bytes."""

    left = 0.0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.left -= len(data)
        if self.left < 0:
            raise ConnectionResetError("connection reset")
        return data


@pytest.mark.parametrize("format", [("wav", None), ("flac", None), ("ogg", "VORBIS"), ("ogg", "OPUS"), ("mp3", None)])
def test_an_object_that_is_read_in_part_is_refused(format: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """libsndfile takes an error of its reader for the end of the file, which some formats may have anywhere."""
    sound, name = io.BytesIO(), f"s3://bucket/a.{format[0]}"
    soundfile.write(sound, noise(4.0, 1), RATE_HZ, format=format[0], subtype=format[1])
    file, size = Cut(), len(sound.getvalue())
    monkeypatch.setattr(remote, "_found", lambda url: (SimpleNamespace(open=lambda path, mode: file), url))
    refused = 0
    for share in np.arange(0.1, 5.0, 0.2):
        file = Cut(sound.getvalue())
        file.left = share * size
        try:
            assert len(audio.load(name)) == len(audio.load(sound.getvalue())) and file.left >= 0
        except InputError as e:
            assert str(e) == f"cannot read {name}: connection reset; check the path, the network and the credentials"
            refused += 1
        assert file.closed
    assert refused > 3


def test_a_manifest_keeps_urls(tmp_path: Path) -> None:
    url = "s3://bucket/folder//a.flac"
    manifest.write(tmp_path / "m.jsonl", [Utterance("a", url)])
    assert [u.audio for u in manifest.read(tmp_path / "m.jsonl")] == [url]


def test_transcripts_of_urls_in_a_manifest_a_list_and_the_command_line(
    store: fsspec.AbstractFileSystem, asr_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.flac").write_bytes(flac(seed))
    urls = [f"memory://sounds/{name}.flac" for name in "ab"]
    manifest.write(tmp_path / "m.jsonl", [Utterance(name, url) for name, url in zip("ab", urls, strict=True)])
    (tmp_path / "list.txt").write_text("\n".join(["a.flac", urls[1]]))
    found = []
    for words in (
        [f"{tmp_path}/a.flac", f"{tmp_path}/b.flac"],
        [f"{tmp_path}/m.jsonl"],
        [f"{tmp_path}/list.txt"],
        urls,
    ):
        assert cli.main(["transcribe", str(asr_file), *words, f"output={tmp_path}/out.jsonl"]) == 0
        found.append(hypothesis.read(tmp_path / "out.jsonl"))
    assert found == [found[0]] * 4 and [h.id for h in found[0]] == ["a", "b"]


def test_missing_objects_are_named_and_set_aside(
    store: fsspec.AbstractFileSystem, asr_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["memory://sounds/a.flac", "memory://sounds/gone.flac"]
    assert cli.main(["transcribe", str(asr_file), *words, f"output={tmp_path}/out.jsonl"]) == 2
    error = "audio file memory://sounds/gone.flac does not exist; check the path"
    assert f"set aside {error}\n" in capsys.readouterr().err
    assert [h.id for h in hypothesis.read(tmp_path / "out.jsonl")] == ["a"]


def test_an_object_that_was_written_again_is_another(store: fsspec.AbstractFileSystem) -> None:
    before = digest_of_input("memory://sounds/a.flac")
    assert before == digest_of_input("memory://sounds/a.flac") is not None
    store.pipe("/sounds/a.flac", flac(3))
    assert digest_of_input("memory://sounds/a.flac") != before
    assert digest_of_input("memory://sounds/gone.flac") is None


def words_of(store: fsspec.AbstractFileSystem, tmp_path: Path) -> list[str]:
    """The recordings of a manifest: a and b of the store, and others of files."""
    found = [Utterance(name, f"memory://sounds/{name}.flac") for name in "ab"]
    for number in range(4):
        (tmp_path / f"{number}.flac").write_bytes(flac(number))
        found.append(Utterance(str(number), str(tmp_path / f"{number}.flac")))
    manifest.write(tmp_path / "m.jsonl", found)
    return [str(tmp_path / "m.jsonl")]


def test_results_are_objects_with_the_content_of_files(store, asr_file: Path, tmp_path: Path, capsys) -> None:
    words = words_of(store, tmp_path)
    for place in (str(tmp_path), "memory://sounds"):
        assert cli.main(["transcribe", str(asr_file), *words, f"output={place}/out.jsonl"]) == 0
        assert cli.main(["transcribe", str(asr_file), *words, f"output={place}/out/", "format=txt"]) == 0
    assert store.cat("/sounds/out.jsonl") == (tmp_path / "out.jsonl").read_bytes()
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert sorted(store.find("/sounds/out")) == [f"/sounds/out/{name}" for name in names]
    assert all(store.cat(f"/sounds/out/{name}") == (tmp_path / "out" / name).read_bytes() for name in names)
    assert not store.find("/sounds/out.jsonl.partial")
    store.pipe("/sounds/out/a.txt", b"by hand")
    store.rm("/sounds/out/0.txt")
    capsys.readouterr()
    assert cli.main(["transcribe", str(asr_file), *words, "output=memory://sounds/out/", "format=txt"]) == 0
    assert "1 recordings -> memory://sounds/out/ (5 existed already)" in capsys.readouterr().out
    assert store.cat("/sounds/out/a.txt") == b"by hand" and store.exists("/sounds/out/0.txt")
    assert cli.main(["transcribe", str(asr_file), "memory://sounds/a.flac", "output=memory://sounds/a.flac"]) == 2
    assert "a.flac" in capsys.readouterr().err and store.cat("/sounds/a.flac") == flac(1)


@pytest.mark.parametrize("name", ["a::b", "a::file:", "a b*[1]?c#d%20", "소리/é"])
def test_any_name_is_that_of_an_object(store: fsspec.AbstractFileSystem, name: str) -> None:
    remote.write(f"memory://sounds/{name}.json", name.encode())
    assert (
        store.store[f"/sounds/{name}.json"].getvalue() == remote.read(f"memory://sounds/{name}.json") == name.encode()
    )
    assert f"memory://sounds/{name}.json" in remote.listed("memory://sounds/")
    remote.delete([f"memory://sounds/{name}.json"])
    assert len(store.find("/sounds")) == 2


def test_results_in_a_store_are_older_only_if_it_says_so(store, asr_file, tmp_path, monkeypatch, capsys) -> None:
    command = ["transcribe", str(asr_file), *words_of(store, tmp_path), "output=memory://sounds/out/"]
    assert cli.main(command) == 0
    for written_s, is_old in ((None, False), (0.0, False), (1.0, True)):  # as the store tells; unknown; in 1970
        with monkeypatch.context() as patch:
            if written_s is not None:
                patch.setattr(remote, "_written_s", lambda about, when=written_s: when)
            assert cli.main(command) == 0
        assert ("are older than their recording" in capsys.readouterr().err) == is_old


def test_a_command_without_results_leaves_no_object(store, asr_file: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("words")
    assert cli.main(["transcribe", str(asr_file), str(tmp_path / "bad.wav"), "output=memory://sounds/out.jsonl"]) == 2
    assert len(store.find("/sounds")) == 2


@pytest.mark.parametrize("option", [None, "reject_below=0.5"])
def test_an_interrupted_command_continues_from_the_store(
    store, asr_file: Path, tmp_path: Path, monkeypatch, capsys, option: str | None
) -> None:
    """With another option nothing of before is taken."""
    command = ["transcribe", str(asr_file), *words_of(store, tmp_path), "output=memory://sounds/out.jsonl"]
    monkeypatch.setattr(partial, "EVERY_S", 0.0)
    heard: list[str] = []
    add = File.add

    def stop(self: File, recording, hypothesis) -> None:
        heard.append(recording.id)
        if len(heard) == 3:
            raise KeyboardInterrupt
        add(self, recording, hypothesis)

    monkeypatch.setattr(File, "add", stop)
    assert cli.main(command) == 130 and not store.exists("/sounds/out.jsonl")
    assert len(store.find("/sounds/out.jsonl.partial")) == 3  # the fingerprint, and two results
    command += [option] if option else []
    assert cli.main(command) == 0
    assert len(heard) == 3 + (6 if option else 4) and not store.find("/sounds/out.jsonl.partial")
    found = [json.loads(line)["id"] for line in store.cat("/sounds/out.jsonl").splitlines()]
    assert found == ["a", "b", "0", "1", "2", "3"]


def test_a_store_that_takes_nothing_is_one_sentence_before_the_work(store, asr_file, tmp_path, monkeypatch, capsys):
    store.pipe("/sounds/out.jsonl", b"of before")

    def fail(self: object, path: str, content: bytes) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(store), "pipe_file", fail)
    monkeypatch.setattr(File, "add", lambda *args: pytest.fail("recognised in vain"))
    words = words_of(store, tmp_path)
    assert cli.main(["transcribe", str(asr_file), *words, "output=memory://sounds/out.jsonl"]) == 2
    told = capsys.readouterr().err
    assert "cannot write memory://sounds/out.jsonl.partial/00000001: Access Denied; check the bucket" in told
    assert store.cat("/sounds/out.jsonl") == b"of before"


def test_sounds_of_requests_are_exported_to_a_store(store, tmp_path: Path, capsys) -> None:
    log_of(tmp_path / "log", heard("asr-1"), heard("asr-2")).close()
    for verb, option in (("export", "part=all"), ("select", "minutes=1")):
        output = f"{tmp_path}/{verb}.jsonl"
        words = ["flywheel", verb, f"log={tmp_path}/log", f"output={output}", option, f"sounds=memory://sounds/{verb}/"]
        assert cli.main(words) == 0 and not (tmp_path / verb).exists()
        found = manifest.read(output)
        assert sorted(u.audio for u in found) == [f"memory://sounds/{verb}/asr-{n}.flac" for n in (1, 2)]
        assert all(len(audio.load(u.audio)) == len(heard(u.id).samples) for u in found)


@pytest.mark.parametrize("option", ["output=s3://bucket/x.jsonl", "output=s3://bucket/x/"])
def test_other_results_are_not_written_to_a_folder_named_s3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["features", "m.jsonl", option]) == 2
    assert "results are written to files" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_prefix_and_a_remote_list_are_refused() -> None:
    for url in ("s3://bucket/sounds/", "s3://bucket/m.jsonl"):
        with pytest.raises(InputError, match="is not a recording; copy manifests and lists here"):
            find_recordings([url])


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", fail)
    with pytest.raises(InputError, match="s3://bucket/a.flac needs .*s3fs"):
        audio.info("s3://bucket/a.flac")
