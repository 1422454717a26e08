"""Connections of a real process: the end of the service, clients that do not read, requests with two lengths."""

import json
import signal
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from bursts import serving
from served import Process, noise, running
from websockets.sync.client import connect

from asr.config import Config
from asr.serve.connections import Unread


def post(process: Process, sound: bytes) -> httpx.Response:
    return httpx.post(f"{process.url}/v1/recognize", files={"file": sound}, timeout=60)


def get(process: Process, path: str) -> httpx.Response:
    return httpx.get(f"{process.url}{path}", timeout=60)


def until_waiting(process: Process, number: int) -> None:
    while f"asr_requests_waiting {number}.0" not in get(process, "/metrics").text:
        time.sleep(0.02)


def upload(process: Process) -> socket.socket:
    """A request whose body does not end."""
    client = socket.create_connection(("127.0.0.1", process.port), timeout=30)
    kind = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 99999\r\n"
    client.sendall(b"POST /v1/recognize HTTP/1.1\r\nHost: x\r\n" + kind + b"\r\n--x\r\n")
    return client


def read_all(client: socket.socket) -> bytes:
    found = b""
    while part := client.recv(65536):
        found += part
    return found


def test_health_is_told_and_new_work_refused_while_accepted_requests_are_answered(model: Path) -> None:
    with running(model, "threads=1", "queue=50", "body_timeout_s=4") as process, upload(process) as held:
        with ThreadPoolExecutor(4) as pool:
            answers: list[Future[httpx.Response]] = [pool.submit(post, process, noise(10.0)) for _ in range(4)]
            until_waiting(process, 3)
            process.process.send_signal(signal.SIGTERM)
            while (ready := get(process, "/readyz")).status_code == 200:
                time.sleep(0.01)
            assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
            assert get(process, "/healthz").status_code == get(process, "/metrics").status_code == 200
            refused = post(process, noise(0.2))
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json()["error"]["code"] == "not_ready"
            assert get(process, "/v1/models").status_code == 503
            with connect(f"ws://127.0.0.1:{process.port}/v1/stream", close_timeout=1) as ws:
                ws.send('{"type": "start"}')
                error = json.loads(ws.recv(10))["error"]
                assert (error["code"], error["retry_after_s"]) == ("not_ready", 1)
            assert [answer.result().status_code for answer in answers] == [200] * 4
        assert read_all(held).startswith(b"HTTP/1.1 408 ")  # accepted, too
        assert process.process.wait(90) == 0
        with pytest.raises(httpx.ConnectError):
            get(process, "/readyz")


@pytest.mark.parametrize(("options", "signals"), [([], 2), (["drain_timeout_s=1"], 1)])
def test_what_the_drain_does_not_wait_for_is_refused(model: Path, options: list[str], signals: int) -> None:
    """Ctrl-C once more, or the end of the drain's time."""
    with running(model, *options) as process, upload(process) as held:
        ws = connect(f"ws://127.0.0.1:{process.port}/v1/stream", close_timeout=1)
        for _ in range(signals):
            process.process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        head, _, body = read_all(held).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: 1" in head
        assert json.loads(body)["error"]["code"] == "not_ready"
        assert process.process.wait(90) == 1
        ws.close()
        assert ws.close_code == 1012
    assert "Traceback" not in "".join(process.log)


def test_requests_with_two_lengths_are_refused(model: Path) -> None:
    """What follows the one end would be another request for a proxy that believes in the other."""
    smuggled = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with running(model) as process:
        for lengths in (
            b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(smuggled),
            b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            b"Content-Length: 4\r\nContent-Length: 5\r\n",
            b"Content-Length: -1\r\n",
        ):
            with socket.create_connection(("127.0.0.1", process.port), timeout=30) as client:
                client.sendall(b"POST /v1/feedback HTTP/1.1\r\nHost: x\r\n" + lengths + b"\r\n" + smuggled)
                answer = read_all(client)
            assert answer.count(b"HTTP/1.1 ") == 1 and answer.startswith(b"HTTP/1.1 400 ")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"


def deaf(port: int, request: bytes) -> socket.socket:
    """A client that asks and does not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(20)
    client.connect(("127.0.0.1", port))
    client.sendall(request)
    return client


def test_clients_that_do_not_read_are_cut_off() -> None:
    """Of answers to plain requests, and of pongs, which pass all queues."""
    cfg = Config()
    cfg.serve.send_timeout_s = 1.0
    key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    upgrade = b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + key + b"\r\n"
    pings = (bytes([137, 128 | 125]) + bytes(4) + bytes(125)) * 1000
    with serving(cfg) as service:
        port, connections = int(service.at.split(":")[1]), service.server.server_state.connections
        plain = deaf(port, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
        live = deaf(port, upgrade)
        assert live.recv(1000).startswith(b"HTTP/1.1 101 ")

        def ping() -> None:
            with suppress(OSError):
                while True:
                    live.sendall(pings)

        threading.Thread(target=ping, daemon=True).start()
        most, until_s = 0, time.monotonic() + 60
        while connections:
            most = max([most, *(each.transport.get_write_buffer_size() for each in list(connections))])
            assert time.monotonic() < until_s
            time.sleep(0.05)
        assert 0 < most < 1_000_000
        assert "asr_unread_connections_total 2.0" in httpx.get(f"http://{service.at}/metrics").text
        for client in (plain, live):
            with suppress(ConnectionResetError):
                read_all(client)  # to an end
            client.close()


class Transport:
    def __init__(self) -> None:
        self.size, self.is_aborted = 0, False

    def get_write_buffer_size(self) -> int:
        return self.size

    def get_extra_info(self, name: str) -> socket.socket:
        return socket.socket()

    def abort(self) -> None:
        self.is_aborted = True


def test_a_slow_reader_is_no_deaf_one() -> None:
    cut: list[int] = []
    unread = Unread(10.0, lambda: cut.append(1))
    slow, deaf, idle = transports = [Transport() for _ in range(3)]
    slow.size, deaf.size = 10_000_000, 1
    for second in range(300):
        unread.sweep([each for each in transports if not each.is_aborted], float(second))  # type: ignore[misc]
        slow.size -= 10_000
    assert (slow.is_aborted, deaf.is_aborted, idle.is_aborted, len(cut)) == (False, True, False, 1)
    second = 300
    while not slow.is_aborted:
        unread.sweep([slow, idle], float(second))  # type: ignore[list-item]
        slow.size, second = slow.size - 1000, second + 1
    assert second < 1000 and len(cut) == 2


def test_a_socket_that_is_closed_meanwhile_keeps_nobody_else() -> None:
    """Closed ones cannot be told to drop what they hold."""
    unread, closed, deaf = Unread(10.0, lambda: None), Transport(), Transport()
    closed.size = deaf.size = 1
    closed.get_extra_info = lambda name: (made := socket.socket()).close() or made  # type: ignore[method-assign]
    for second in (0.0, 11.0):
        unread.sweep([closed, deaf], second)  # type: ignore[list-item]
    assert closed.is_aborted and deaf.is_aborted


def test_a_look_that_fails_is_logged_and_not_the_last(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    looks, sweep = [], Unread.sweep

    def failing(self, transports, now) -> None:
        looks.append(now)
        if len(looks) == 1:
            raise ZeroDivisionError
        sweep(self, transports, now)

    monkeypatch.setattr(Unread, "sweep", failing)
    monkeypatch.setattr("asr.serve.process.SWEEP_S", 0.01)
    with serving(Config()):
        until_s = time.monotonic() + 60
        while len(looks) < 3:
            assert time.monotonic() < until_s
            time.sleep(0.01)
    (record,) = [record for record in caplog.records if "clients that do not read" in record.message]
    assert record.exc_info and record.exc_info[0] is ZeroDivisionError
