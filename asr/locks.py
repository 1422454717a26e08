"""Locks: one process at a time writes a folder or a file. A lock of a process that has ended is recognised.

The lock file holds JSON: host, pid, the start time of the process, and when the lock was taken. It is created by a hard
link, which is atomic on network file systems too. A process that was killed leaves its lock. On the same host the next
process recognises it, since no process with that pid and start time runs, and takes it over. The process of another
host cannot be checked; the message names the file to delete.
"""

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.streams import is_stream

NAME = ".lock"


@contextmanager
def locked(folder: Path, file: str | None = None) -> Iterator[None]:
    """Holds the lock of a folder, which is created if needed, or of one file in it.

    Raises InputError naming the process that holds it. A pipe or a device needs no lock.
    """
    if file and is_stream(folder / file):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (f".{file}{NAME}" if file else NAME)
    own = _owner()
    place = folder / file if file else folder
    try:
        while not _create(path, own):
            _remove_stale(path, place)
    except OSError as e:
        e.filename = str(place)
        raise
    try:
        yield
    finally:
        if _read(path) == own:
            path.unlink(missing_ok=True)


def _owner() -> dict[str, Any]:
    return {
        "host": _host(),
        "pid": os.getpid(),
        "started": _start_time(os.getpid()),
        "taken": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _create(path: Path, owner: dict[str, Any]) -> bool:
    """Creates the lock with its content; False if there is one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".lock-", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(owner, file)
        os.chmod(name, 0o644)  # so that other users can read who holds it
        try:
            os.link(name, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            try:
                with open(path, "x", encoding="utf-8") as file:
                    json.dump(owner, file)
            except FileExistsError:
                return False
        return True
    finally:
        os.unlink(name)


def _remove_stale(path: Path, place: Path) -> None:
    """Removes the lock of a process that has ended. Raises InputError for any other lock."""
    with _alone(path.parent):
        holder = _read(path)
        if holder is None:  # released since
            return
        if holder.get("host") != _host():
            raise InputError(
                f"{place} is in use by process {holder.get('pid')} on host {holder.get('host')}, since "
                f"{holder.get('taken')}; wait for it, or, if it has ended, delete {path}"
            )
        pid = holder.get("pid")
        if isinstance(pid, int) and _is_alive(pid) and holder.get("started") in (None, _start_time(pid)):
            raise InputError(
                f"{place} is in use by process {pid} on this machine, since {holder.get('taken')}; wait for it, or "
                "choose another place"
            )
        path.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process of this host at a time, so that two do not take over the same stale lock."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # another system
        yield
        return
    try:
        with contextlib.suppress(OSError):  # not on every network file system
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(path: Path) -> dict[str, Any] | None:
    """The content of a lock; None if there is none, {} if it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {"host": "unknown"}
    return found if isinstance(found, dict) else {"host": "unknown"}


def _host() -> str:
    """Name of this machine, with the namespace of its processes: containers of one machine number theirs separately."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} ({os.readlink('/proc/self/ns/pid')})"
    return socket.gethostname()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    except OverflowError:
        return False
    return True


def _start_time(pid: int) -> str | None:
    """When a process started, with the boot; None if it has ended, or if the system does not say.

    Pids are used again, pairs of pid and start time are not.
    """
    if sys.platform != "linux":
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"  # a zombie has ended
