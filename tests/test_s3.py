"""Recordings and results in a server of S3 on this machine: `make s3-test`. Skipped without moto and s3fs."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tones
from test_remote import RATE_HZ, flac
from test_shards import OPTIONS
from tiny import write_bundle

from asr import manifest, members, remote
from asr.cli import main as cli
from asr.errors import InputError
from asr.features import audio
from asr.fingerprints import digest_of_input
from asr.manifest import Utterance

moto = pytest.importorskip("moto.server", reason="needs moto and s3fs: `make s3-test`")
s3fs = pytest.importorskip("s3fs", reason="needs moto and s3fs: `make s3-test`")
pytestmark = pytest.mark.timeout(600)
IN_SMALL_PARTS = """
import sys
from asr.cli import main, partial
from asr.recognizer import long
partial.EVERY_S, long.SHARE_S = 0.0, 4.0
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def store() -> Iterator[Any]:
    """The file system of a server with an empty bucket. Its address and keys are in the environment."""
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ENDPOINT_URL", f"http://{host}:{port}"), ("ACCESS_KEY_ID", "x"),
                            ("SECRET_ACCESS_KEY", "x"), ("DEFAULT_REGION", "us-east-1")):  # fmt: skip
            patch.setenv(f"AWS_{name}", value)
        opened = s3fs.S3FileSystem()
        opened.mkdir("bucket")
        yield opened
    server.stop()


@pytest.fixture(scope="module")
def asr_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("s3")
    return write_bundle(folder / "model.asr")


def corpus(store: Any, folder: Path, count: int) -> str:
    """The manifest of recordings in the bucket."""
    for number in range(count):
        store.pipe(f"bucket/sounds/{number}.flac", flac(number))
    path = folder / "corpus.jsonl"
    manifest.write(path, [Utterance(f"{n}", f"s3://bucket/sounds/{n}.flac", duration_s=1.0) for n in range(count)])
    return str(path)


def test_recordings_of_s3(store: Any, tmp_path: Path) -> None:
    store.pipe("bucket/a.flac", flac(1))
    (tmp_path / "a.flac").write_bytes(flac(1))
    assert (audio.load("s3://bucket/a.flac") == audio.load(tmp_path / "a.flac")).all()
    assert len(audio.load("s3://bucket/a.flac")) == RATE_HZ
    before = digest_of_input("s3://bucket/a.flac")
    store.pipe("bucket/a.flac", flac(2))
    store.invalidate_cache()
    assert None is not digest_of_input("s3://bucket/a.flac") != before
    with pytest.raises(InputError, match="audio file s3://bucket/gone.flac does not exist"):
        audio.info("s3://bucket/gone.flac")


@pytest.mark.parametrize("output", ["{}/out.jsonl", "{}/out/"])
def test_a_killed_command_leaves_whole_objects_and_is_continued(store, asr_file, tmp_path, output: str) -> None:
    """The results are those of an unbroken command with files."""
    words = [str(asr_file), corpus(store, tmp_path, 40), "threads=1"]
    for place in (str(tmp_path), "s3://bucket/unbroken"):
        assert cli.main(["transcribe", *words, f"output={output.format(place)}"]) == 0
    command = ["transcribe", *words, f"output={output.format('s3://bucket/killed')}"]
    process = subprocess.Popen([sys.executable, "-c", IN_SMALL_PARTS, *command], env=dict(os.environ))
    while len(remote.listed("s3://bucket/killed/")) < 10 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    found = objects(store, "killed")
    assert len(found) >= 10
    if output.endswith("/"):
        assert all(json.loads(content)["id"] for content in found.values())  # whole
    assert cli.main(command) == 0
    wanted = objects(store, "unbroken")
    assert objects(store, "killed").keys() == wanted.keys()
    assert texts(objects(store, "killed")) == texts(wanted) == texts(files(tmp_path / "out", tmp_path))
    store.rm("bucket/killed", recursive=True)
    store.rm("bucket/unbroken", recursive=True)


def objects(store: Any, folder: str) -> dict[str, bytes]:
    """The objects of a folder of the bucket, by their names in it."""
    url = f"s3://bucket/{folder}/"
    return {name.removeprefix(url): store.cat(name) for name in remote.listed(url)}


def files(folder: Path, parent: Path) -> dict[str, bytes]:
    paths = folder.iterdir() if folder.is_dir() else [parent / "out.jsonl"]
    return {str(path): path.read_bytes() for path in paths}


def texts(found: dict[str, bytes]) -> list[tuple[str, str]]:
    lines = []
    for name, content in found.items():
        parts = content.decode().splitlines() if name.endswith(".jsonl") else [content]
        lines += [json.loads(part) for part in parts]
    return sorted((line["id"], line["text"]) for line in lines)


def test_an_upload_that_breaks_off_leaves_what_was_there(store: Any) -> None:
    """A client that ends within a PUT, as a killed process does."""
    store.pipe("bucket/x.jsonl", b"of before")
    host, _, port = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"PUT /bucket/x.jsonl HTTP/1.1\r\nHost: {host}\r\nAuthorization: AWS x:x\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + b"half")
    time.sleep(0.2)
    assert store.cat("bucket/x.jsonl") == b"of before"


def test_shards_of_a_bucket_are_trained_from(store, tmp_path, capsys) -> None:
    """To the bits of a training from the same shards in files. Blocks are asked for, not members."""
    tones.write(tmp_path, "train", 24)
    tones.write(tmp_path, "dev", 3, seed=1)
    nets = []
    for name, more in (("files", []), ("objects", ["tars=s3://bucket/tars/"])):
        words = ["data", "shard", f"{tmp_path}/train.jsonl", f"output={tmp_path}/{name}", "tar_mb=0.2", *more]
        assert cli.main(words) == 0
        assert cli.main(training(tmp_path, name, f"{name}.exp")) == 0
        nets.append((tmp_path / f"{name}.exp/train/final.safetensors").read_bytes())
    assert nets[0] == nets[1] and len(objects(store, "tars")) > 2
    last = members.member_of(manifest.read(f"{tmp_path}/objects/manifest.jsonl")[-1].audio)
    store.pipe(last.file.removeprefix("s3://"), b"cut")
    with pytest.raises(InputError, match="ends within the member at"):
        members.read(last)
    store.rm("bucket/tars/shard-00001.tar")
    members.forget()
    assert cli.main([*training(tmp_path, "objects", "gone.exp"), "data.workers=2"]) == 0
    assert "s3://bucket/tars/shard-00001.tar does not exist" in capsys.readouterr().out


def training(folder: Path, data: str, out: str) -> list[str]:
    words = [f"data.train={folder}/{data}/manifest.jsonl", f"data.dev={folder}/dev.jsonl", f"out={folder}/{out}"]
    return ["train", *words, *OPTIONS.split()]


def test_a_missing_bucket_is_one_sentence_before_the_work(store, asr_file, tmp_path, capsys) -> None:
    words = [str(asr_file), corpus(store, tmp_path, 2)]
    assert cli.main(["transcribe", *words, "output=s3://nowhere/out.jsonl"]) == 2
    assert "s3://nowhere/out.jsonl.partial/" in (told := capsys.readouterr().err) and "; check the bucket" in told
