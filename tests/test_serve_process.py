"""A real process: SIGTERM, slow clients, load."""

import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import torch
from bursts import Recognizer
from served import Process, noise, running

import asr
from asr.config import Config
from asr.errors import InputError
from asr.serve.address import bound
from asr.serve.app import make_app
from asr.serve.modes import Modes
from asr.serve.process import make_server
from asr.threads import torch_threads


@pytest.fixture(scope="module")
def service(model: Path) -> Iterator[Process]:
    limits = ("header_timeout_s=1", "body_timeout_s=3", "max_upload_bytes=300000", "queue=100")
    with running(model, "threads=2", *limits) as process:
        yield process


def transcribe(url: str, sound: bytes, **data: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/audio/transcriptions", files={"file": sound}, data={"model": "x", **data}, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_accepted_requests_are_answered_after_a_signal(model: Path, number: signal.Signals) -> None:
    """SIGHUP is what a closed terminal sends."""
    sound = noise(8.0)
    with running(model, "threads=1", "queue=50") as process:
        expected = transcribe(process.url, sound).json()["text"]
        with ThreadPoolExecutor(12) as pool:
            answers = [pool.submit(transcribe, process.url, sound) for _ in range(12)]
            while waiting(process) + sum(answer.done() for answer in answers) < 11:  # and one is recognised
                time.sleep(0.01)
            assert process.stop(number) == 0
            assert [answer.result().json()["text"] for answer in answers] == [expected] * 12
    with pytest.raises(httpx.ConnectError):
        transcribe(process.url, sound)
    assert "Traceback" not in "".join(process.log)


def waiting(process: Process) -> float:
    text = httpx.get(f"{process.url}/metrics").text
    return sum(
        float(line.split()[1])
        for line in text.splitlines()
        if line.startswith(("asr_requests_waiting ", "asr_requests_running "))
    )


def test_a_recording_gives_the_same_transcript_under_any_load(service: Process, model: Path, shared_data: Path) -> None:
    files = sorted((shared_data / "libri_en" / "audio").rglob("*.ogg"), key=lambda file: file.stat().st_size)[:12]
    recognizer = asr.load(model)
    alone = [recognizer.transcribe(file) for file in files]
    assert all(hypothesis.words for hypothesis in alone)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda file: recognised(service, file.read_bytes()), files * 4))
    for answer, expected in zip(answers, alone * 4, strict=True):
        assert answer["words"] == [
            {"word": w.word, "start_s": w.start_s, "end_s": w.end_s, "confidence": w.confidence, "accepted": w.accepted}
            for w in expected.words
        ]


def recognised(service: Process, sound: bytes) -> dict:
    answer = httpx.post(f"{service.url}/v1/recognize", files={"file": sound}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def connected(service: Process) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=20)


def read_all(client: socket.socket) -> bytes:
    found = b""
    while part := client.recv(65536):
        found += part
    return found


@pytest.mark.parametrize("begun", [b"", b"G", b"POST /v1/recognize HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_slow_headers_are_answered_408(service: Process, begun: bytes) -> None:
    with connected(service) as client:
        client.sendall(begun)
        start_s = time.monotonic()
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 408 ") and time.monotonic() - start_s < 10
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"


def test_headers_that_trickle_on_a_kept_connection_are_answered_408(service: Process) -> None:
    with connected(service) as client:
        for _ in range(2):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
            time.sleep(1.5)  # an idle connection may stay for longer than headers may take
        for byte in b"GET /healthz HT":
            client.sendall(bytes([byte]))
            time.sleep(0.05)
        assert read_all(client).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_goes_away_in_the_middle_of_a_body_is_no_fault_of_ours(service: Process) -> None:
    with connected(service) as client:
        kind = b"Content-Type: multipart/form-data; boundary=x"
        client.sendall(b"POST /v1/recognize HTTP/1.1\r\nHost: x\r\n" + kind + b"\r\nContent-Length: 99\r\n\r\n--x\r\n")
        client.shutdown(socket.SHUT_WR)
        read_all(client)
    deadline_s = time.monotonic() + 30
    while 'status="499"' not in httpx.get(f"{service.url}/metrics").text:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    assert "Traceback" not in "".join(service.log)


@pytest.mark.parametrize("length", [b"Content-Length: 100000", b"Transfer-Encoding: chunked"])
def test_a_slow_body_is_answered_408(service: Process, length: bytes) -> None:
    with connected(service) as client:
        kind = b"Content-Type: multipart/form-data; boundary=x"
        client.sendall(b"POST /v1/recognize HTTP/1.1\r\nHost: x\r\n" + kind + b"\r\n" + length + b"\r\n\r\n")
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"too slowly" in answer


def test_a_large_body_is_answered_413_though_the_client_sends_on(service: Process) -> None:
    assert transcribe(service.url, bytes(3_000_000)).status_code == 413

    def parts() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        for _ in range(300):
            yield bytes(10_000)

    kind = {"content-type": "multipart/form-data; boundary=x"}
    answer = httpx.post(f"{service.url}/v1/recognize", content=parts(), headers=kind, timeout=60)
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "too_large"


def test_a_client_that_waits_for_continue_is_refused_without_its_body(service: Process) -> None:
    with connected(service) as client:
        client.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 404 ")


def test_clients_that_leave_cost_nothing(service: Process) -> None:
    sound = noise(9.0)
    for _ in range(20):
        with connected(service) as client:
            head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            body = head + sound + b"\r\n--x--\r\n"
            kind = b"Content-Type: multipart/form-data; boundary=x\r\n"
            client.sendall(
                b"POST /v1/recognize HTTP/1.1\r\nHost: x\r\n"
                + kind
                + f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
    until = time.monotonic() + 20
    while waiting(service) and time.monotonic() < until:
        time.sleep(0.05)
    assert waiting(service) == 0
    assert transcribe(service.url, noise(0.5)).status_code == 200


def test_idle_connections_do_not_stop_the_service(service: Process) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        idle = [connected(service) for _ in range(1100)]
        assert transcribe(service.url, noise(0.5)).status_code == 200
        for client in idle:
            client.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_overload_is_refused_quickly_and_what_is_accepted_is_answered(model: Path) -> None:
    sound = noise(10.0)
    with running(model, "threads=1", "queue=2") as process:
        expected = transcribe(process.url, sound).json()["text"]
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: transcribe(process.url, sound), range(24)))
        metrics = httpx.get(f"{process.url}/metrics").text
    accepted = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(accepted) >= 3 and refused and len(accepted) + len(refused) == 24
    assert {answer.json()["text"] for answer in accepted} == {expected}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert f'status="503"}} {len(refused)}.0' in metrics


def test_a_missing_model_and_a_taken_port_are_told_in_a_sentence(model: Path, capsys: pytest.CaptureFixture) -> None:
    from asr.cli import main as cli

    assert cli.main(["serve", "missing.asr"]) == 2
    assert "there is no recogniser missing.asr" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.main(["serve", str(model), f"port={taken.getsockname()[1]}"]) == 2
    assert "port" in capsys.readouterr().err


def test_a_taken_port_is_told_before_anything_large_is_loaded(model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        program = (
            "import sys\nfrom asr.cli import main\n"
            f"assert main.main(['serve', {str(model)!r}, 'port={taken.getsockname()[1]}']) == 2\n"
            "print([name for name in ('torch', 'fastapi') if name in sys.modules])"
        )
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout == "[]\n" and "Address already in use; choose others" in found.stderr


def test_a_port_that_is_taken_meanwhile_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with bound("127.0.0.1", 0) as own, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(own.getsockname())
        cfg = Config()
        server = make_server(cfg, make_app(cfg, Modes({"dictation": Recognizer()})))
        other.listen()
        with pytest.raises(InputError, match="Address already in use; choose others"):
            server.run([own])


def test_models_are_opened_for_one_thread_each(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime takes the number when a model is opened; more would let workers fight for the cores."""
    from asr.serve import process

    found: list[int] = []

    def make_app(cfg: Config) -> None:
        found.append(torch.get_num_threads())
        raise InputError("seen enough")

    monkeypatch.setattr(process, "make_app", make_app)
    with torch_threads(4), bound("127.0.0.1", 0) as listener, pytest.raises(InputError, match="seen enough"):
        process.serve(Config(bundle=str(model)), listener)
    assert found == [1]
