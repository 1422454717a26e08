"""The address of the service. This module imports nothing large, so that a taken port is told at once."""

import socket

from asr.errors import InputError


def bound(host: str, port: int) -> socket.socket:
    """A socket at the address, which does not listen yet: nobody waits while the models are opened.

    Raises InputError if the address is taken, or is none of this machine.
    """
    try:
        kind, address = next((found[0], found[4]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        listener = socket.socket(kind, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as e:
        raise unusable(host, port, e) from None
    return listener


def unusable(host: str, port: int, error: OSError) -> InputError:
    return InputError(f"cannot listen on {host} port {port}: {error.strerror}; choose others with host= and port=")
