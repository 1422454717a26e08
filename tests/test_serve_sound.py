"""Sound from strangers: decoded as by `audio.load`, refused in one sentence, within limits that hold in the child."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fuzz.mutate import mutated
from fuzz.sounds import FORMATS, _sounds
from test_media import write

from asr.errors import InputError
from asr.features import audio
from asr.serve.errors import Refused
from asr.serve.sound import CRASHED, Decoder

MEDIA = [
    ("a.m4a", "ipod", "aac", 44100),
    ("a.webm", "webm", "libopus", 48000),
    ("a.amr", "amr", "libopencore_amrnb", 8000),
]


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    made = Decoder(2)
    yield made
    made.close()


def encoded(samples: np.ndarray, rate_hz: int = 16000, format: str = "FLAC", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=format, subtype=subtype)
    return file.getvalue()


def refusal(decoder: Decoder, data: bytes | Path, max_s: float = 60.0, **limits: float) -> str:
    with pytest.raises(InputError) as e:
        decoder.decode(data, max_s, 16000, **limits)  # type: ignore[arg-type]
    assert "\n" not in str(e.value)
    return str(e.value)


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_the_samples_are_those_of_load(decoder: Decoder, format: str, subtype: str) -> None:
    rate_hz = 48000 if subtype == "OPUS" else 44100
    data = encoded(np.random.default_rng(1).normal(0, 0.1, rate_hz), rate_hz, format, subtype)
    samples = decoder.decode(data, 60, 16000)
    assert samples.dtype == np.float32 and len(samples) >= 15000
    assert np.array_equal(samples, audio.load(data))


@pytest.mark.parametrize(("name", "format", "codec", "rate_hz"), MEDIA)
def test_what_phones_and_browsers_record(decoder: Decoder, tmp_path: Path, name, format, codec, rate_hz) -> None:
    write(tmp_path / name, format, codec, {}, rate_hz)
    assert np.array_equal(decoder.decode(tmp_path / name, 60, 16000), audio.load(tmp_path / name))


def test_broken_sound_is_refused_as_by_load(decoder: Decoder, tmp_path: Path) -> None:
    """The seeds of the fuzzer, cut and mutated: the same samples or the same sentence."""
    rng = np.random.default_rng(5)
    seeds = _sounds(tmp_path)
    broken = [mutated(rng, seeds[number % len(seeds)], seeds[number // 2]) for number in range(2 * len(seeds))]
    for data in [*seeds, *broken, b"", b"\0" * 99, b"RIFF"]:
        try:
            expected: object = audio.load(data, max_s=60)
        except InputError as e:
            assert refusal(decoder, data) == str(e).replace("audio given in memory", "the audio")
        else:
            assert np.array_equal(decoder.decode(data, 60, 16000), expected)


def test_a_path_that_is_missing(decoder: Decoder, tmp_path: Path) -> None:
    assert "No such file" in refusal(decoder, tmp_path / "a.wav")


def silence(minutes: int, format: str, subtype: str) -> bytes:
    return encoded(np.zeros(minutes * 60 * 8000, np.int16), 8000, format, subtype)


@pytest.mark.parametrize(
    ("format", "subtype", "minutes"), [("FLAC", "PCM_16", 60), ("OGG", "OPUS", 1), ("MP3", "MPEG_LAYER_III", 1)]
)
def test_a_bomb_is_refused_before_it_is_decoded(decoder: Decoder, format: str, subtype: str, minutes: int) -> None:
    data = silence(minutes, format, subtype)
    start_s = time.monotonic()
    assert "the audio is longer than 30 s" in refusal(decoder, data, 30.0)
    assert time.monotonic() - start_s < 5


def test_a_bomb_whose_header_lies_stops_at_the_limit(decoder: Decoder) -> None:
    """FLAC without a length: decoding finds out."""
    data = bytearray(silence(60, "FLAC", "PCM_16"))
    assert data[:4] == b"fLaC"
    packed = int.from_bytes(data[18:26], "big") >> 36 << 36  # rate, channels, bits; then the number of samples
    data[18:26] = packed.to_bytes(8, "big")
    assert "longer than" in refusal(decoder, bytes(data))


def test_many_channels_at_a_high_rate_take_no_memory(decoder: Decoder) -> None:
    data = encoded(np.zeros((200, 1024), np.float32), 384000, "WAV", "FLOAT")
    assert len(decoder.decode(data, 60, 16000)) == pytest.approx(200 / 24, abs=2)


def test_little_memory_gives_a_sentence() -> None:
    decoder = Decoder(1, memory_bytes=1 << 20)
    try:
        assert "too much" in refusal(decoder, encoded(np.random.default_rng(0).normal(0, 0.1, 1 << 21)))
    finally:
        decoder.close()


@pytest.fixture
def programmed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int], Decoder]]:
    """programmed(program, most) -> a decoder of at most so many recordings, whose process runs this program."""
    made = []

    def decoder(program: str, most: int) -> Decoder:
        monkeypatch.setattr("asr.serve.sound.PROGRAM", ["-c", program])
        made.append(Decoder(most))
        return made[-1]

    yield decoder
    for each in made:
        each.close()


@pytest.fixture
def hostile(programmed: Callable[[str, int], Decoder]) -> Callable[[str], Decoder]:
    """hostile(code) -> a decoder whose children run `code` in place of decoding, with `channel` to write to."""
    return lambda code: programmed(
        "import os, sys, threading, signal, socket\nfrom asr.serve import sound_process as p\n"
        f"def decode(channel, recording, max_s, rate_hz):\n    {code}\n"
        "p._decode = decode\np.main()",
        2,
    )


WAIT = "lock = threading.Lock(); lock.acquire(); lock.acquire()"
WAV = encoded(np.zeros(1600), format="WAV")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV) or os.abort()", CRASHED),
        ("raise ValueError", CRASHED),
        ("os._exit(0)", CRASHED),
        ("bytearray(1 << 40)", CRASHED),
        (WAIT, "took more than 2 s"),
        (f"signal.pthread_sigmask(0, range(1, 65)); {WAIT}", "took more than 2 s"),
        ("os.write(channel, b'junk!' * 1000)", CRASHED),
        ("os.write(channel, b'S' + b'\\xff' * 4)", CRASHED),
        ("p._send(channel, b'E', b'no\\n\\x1b[31m thing')", "no  [31m thing"),
        ("p._send(channel, b'S', b'\\0\\0\\xc0\\x7f'); p._send(channel, b'D', b'')", CRASHED),  # NaN
        ("p._send(channel, b'S', b'abc'); p._send(channel, b'D', b'')", CRASHED),
        ("[p._send(channel, b'S', bytes(1 << 20)) for _ in range(999)]", CRASHED),  # more than max_s
        ("p._send(channel, b'D', b'')", CRASHED),
        ("p._send(channel, b'X', b'time')", "took more than"),
    ],
)  # fmt: skip
def test_a_child_in_hostile_hands(hostile: Callable[[str], Decoder], code: str, sentence: str) -> None:
    decoder = hostile(code)
    start_s = time.monotonic()
    assert sentence in refusal(decoder, WAV, cpu_s=1, wall_s=2.0)
    assert sentence in refusal(decoder, WAV, cpu_s=1, wall_s=2.0)  # another child
    assert time.monotonic() - start_s < 20


TRY = """
    try: {}
    except OSError as e: p._send(channel, b'E', (b'jailed' if e.errno in (1, 27) else repr(e).encode()))
    else: p._send(channel, b'E', b'free')
"""


@pytest.mark.parametrize(
    "action",
    ["open('/etc/passwd')", "socket.socket()", "os.fork()", "os.execv('/bin/true', ['true'])",
     "os.kill(os.getppid(), 9)", "os.listdir('/')"],
)  # fmt: skip
def test_a_child_cannot(hostile: Callable[[str], Decoder], action: str) -> None:
    if os.uname().machine not in ("x86_64", "aarch64"):
        pytest.skip("no filter of system calls for this machine")
    assert refusal(hostile(TRY.format(action)), WAV) == "jailed"


def test_a_child_sees_no_secrets(hostile: Callable[[str], Decoder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    decoder = hostile("p._send(channel, b'E', repr(dict(os.environ)).encode()[:4000])")
    assert "secret" not in refusal(decoder, WAV)


def test_a_drain_goes_on_decoding(decoder: Decoder) -> None:
    """systemd and terminals signal all processes of a service."""
    decoder.decode(WAV, 60, 16000)
    process = decoder._process
    assert process
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(process.pid, number)
    assert len(decoder.decode(WAV, 60, 16000)) == 1600
    assert decoder._process is process


def test_the_process_is_started_again(decoder: Decoder) -> None:
    assert len(decoder.decode(WAV, 60, 16000)) == 1600
    assert decoder._process
    os.kill(decoder._process.pid, signal.SIGKILL)
    decoder._process.wait()
    assert len(decoder.decode(WAV, 60, 16000)) == 1600


def test_the_process_ends_without_a_word_when_the_service_has_ended() -> None:
    """Its children may end a moment later."""
    program = (
        "import os, signal\nfrom asr.serve import sound_process\n"
        "sound_process.main()\nos.kill(os.getpid(), signal.SIGCHLD)\n"
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    with theirs:
        command = [sys.executable, "-c", program, str(theirs.fileno())]
        ended = subprocess.run(command, pass_fds=[theirs.fileno()], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_endless_work_is_stopped(hostile: Callable[[str], Decoder]) -> None:
    assert "too much time or memory" in refusal(hostile("while True: pass"), WAV, cpu_s=1, wall_s=60.0)


KILLER = """
import os, sys
from asr.serve import sound_process as p
starts = open({starts!r}, "a+")
starts.write("x")
starts.flush()
starts.seek(0)
if len(starts.read()) <= {kills}:
    p.jail.enter = lambda *limits: None
    p._decode = lambda *request: os.kill(os.getppid(), 9)
p.main()
"""


@pytest.fixture
def killed(tmp_path: Path, programmed: Callable[[str, int], Decoder]) -> Callable[[int], Decoder]:
    """killed(kills) -> a decoder whose first processes are killed when they decode; `starts` has a letter for each."""
    return lambda kills: programmed(KILLER.format(starts=str(tmp_path / "starts"), kills=kills), 1)


@pytest.mark.parametrize("in_file", [False, True])
def test_what_a_killed_process_was_decoding_is_decoded_by_the_next(killed, tmp_path: Path, in_file: bool) -> None:
    """From its beginning, wherever the first process had got to."""
    (tmp_path / "a.wav").write_bytes(data := encoded(np.linspace(-0.5, 0.5, 1600), format="WAV"))
    samples = killed(1).decode(tmp_path / "a.wav" if in_file else data, 60, 16000)
    assert np.array_equal(samples, audio.load(data))


def test_the_children_of_a_killed_process_end_with_it(hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise their recordings would not be decoded again before their time is over."""
    decoder = hostile(WAIT)
    decoder.start()
    assert decoder._process
    monkeypatch.setattr("asr.serve.sound.PROGRAM", ["-m", "asr.serve.sound_process"])
    threading.Timer(2.0, os.kill, (decoder._process.pid, signal.SIGKILL)).start()
    assert len(decoder.decode(WAV, 60, 16000, 1, 300.0)) == 1600


def test_a_recording_that_kills_processes_is_given_up(killed, tmp_path: Path) -> None:
    decoder = killed(99)
    with pytest.raises(Refused, match="ended; repeat the request") as e:
        decoder.decode(WAV, 60, 16000)
    assert (e.value.status, e.value.retry_after_s) == (503, 1.0)
    assert (tmp_path / "starts").read_text() == "xx"


def test_threads_get_their_own_sound(decoder: Decoder) -> None:
    failures: list[object] = []

    def decode(number: int) -> None:
        data = encoded(np.full(1000 + number, number / 50, np.float32), 16000, "WAV", "FLOAT")
        samples = decoder.decode(data, 60, 16000)
        if len(samples) != 1000 + number or not np.all(samples == np.float32(number / 50)):
            failures.append((number, len(samples)))

    threads = [threading.Thread(target=decode, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_no_descriptors_or_children_are_left(decoder: Decoder) -> None:
    decoder.decode(WAV, 60, 16000)
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(10):
        decoder.decode(WAV, 60, 16000)
        refusal(decoder, b"x")
    assert set(os.listdir("/proc/self/fd")) == before
    assert decoder._process
    pid = decoder._process.pid
    deadline_s = time.monotonic() + 10
    while len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) > 1:  # the one that is forked ahead
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
