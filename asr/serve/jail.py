"""Limits on a process that decodes what strangers send: memory, CPU time, files, and the system calls that it needs.

The limits on resources hold everywhere. The filter of system calls (seccomp) is set where Linux offers it on x86-64 or
64-bit ARM: it leaves reading, writing, memory and the clock, and refuses opening files, the network, other programs
and other processes.
"""

import ctypes
import os
import platform
import resource
import signal
import struct

_LIBC = ctypes.CDLL(None)
_PARENT_DEATH_SIGNAL, _NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 1, 38, 22, 2  # of prctl(2)
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF: load a word, jump if equal, return
_OFFSET_CALL, _OFFSET_MACHINE = 0, 4  # in struct seccomp_data

_CALLS = {  # name: number on x86-64, on 64-bit ARM
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "lseek": (8, 62),
    "close": (3, 57), "fstat": (5, 80), "ioctl": (16, 29), "fcntl": (72, 25), "dup": (32, 23),
    "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226), "madvise": (28, 233),
    "brk": (12, 214), "futex": (202, 98), "membarrier": (324, 283), "rseq": (334, 293),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "getpid": (39, 172), "gettid": (186, 178), "getrandom": (318, 278), "getrusage": (98, 165), "sysinfo": (99, 179),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_*


def enter(memory_bytes: int, cpu_s: int) -> None:
    """Limits this process until it ends: `memory_bytes` more than it has now, `cpu_s` seconds of CPU time.

    It ends with its parent.
    """
    _LIBC.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    for kind, most in (
        (resource.RLIMIT_AS, _address_space() + memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    _filter_calls()


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


class _Program(ctypes.Structure):
    _fields_ = [("size", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def _filter_calls() -> None:
    if platform.machine() not in _MACHINES:
        return
    column, machine = _MACHINES[platform.machine()]
    numbers = [pair[column] for pair in _CALLS.values()]
    steps = [(_LOAD, 0, 0, _OFFSET_MACHINE), (_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _REFUSE)]
    steps.append((_LOAD, 0, 0, _OFFSET_CALL))
    steps += [(_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]  # to the last step
    steps += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.addressof(code))
    _LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _LIBC.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)
