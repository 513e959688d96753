"""Where the bus listens: endpoints, who may bind and connect, and the lock against two of them."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import zmq

from daq import posix


class EndpointError(ValueError):
    """An endpoint that may not be used, and what to do instead."""


def default_endpoint() -> str:
    """Return the endpoint used where none is configured: a Unix socket in the user's own folder."""
    return f"ipc://{posix.runtime_directory() / 'bus'}"


def check_endpoint(endpoint: str) -> str:
    """Return ``endpoint`` if it may be used without keys; raise `EndpointError`.

    ``ipc://`` anywhere, ``tcp://`` on the loopback interface only: off the loopback a bus needs
    CURVE keys, which are not there yet.
    """
    scheme, _, rest = endpoint.partition("://")
    if scheme == "ipc":
        if len(rest.encode()) > posix.MAX_IPC_PATH:
            raise EndpointError(
                f"the socket path {rest} is longer than {posix.MAX_IPC_PATH} bytes; "
                "set GLASSWATCH_RUNTIME_DIR or bus.endpoint to a shorter one"
            )
        return endpoint
    if scheme == "tcp":
        host, _, port = rest.rpartition(":")
        host = host.strip("[]")
        loopback = host == "localhost"
        if not loopback:
            try:
                loopback = ipaddress.ip_address(host).is_loopback
            except ValueError:
                loopback = False
        if not loopback:
            raise EndpointError(
                f"{endpoint}: without keys a bus is on the loopback only; use tcp://127.0.0.1:{port or 'PORT'}"
                " or ipc, and a tunnel (ssh -L) from elsewhere"
            )
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise EndpointError(f"{endpoint}: a port is needed, tcp://127.0.0.1:5555 for instance")
        return endpoint
    raise EndpointError(f"{endpoint}: use ipc:///path/of/socket or tcp://127.0.0.1:PORT")


def keep_alive(socket: zmq.Socket[Any], endpoint: str) -> None:
    """Have the kernel notice, within half a minute, that the other host or the line is gone.

    Not with ZMTP heartbeats: on a slow line they wait behind the data, and end what is healthy.
    """
    if endpoint.startswith("tcp://"):
        for option, value in (
            (zmq.TCP_KEEPALIVE, 1),
            (zmq.TCP_KEEPALIVE_IDLE, 10),
            (zmq.TCP_KEEPALIVE_INTVL, 5),
            (zmq.TCP_KEEPALIVE_CNT, 4),
        ):
            socket.setsockopt(option, value)


def secure(socket: zmq.Socket[bytes], keys: Any = None) -> None:
    """Set CURVE keys on a socket. The place for them: until they come, only None is taken."""
    if keys is not None:
        raise EndpointError("keys are not supported yet")


def bind(socket: zmq.Socket[bytes], endpoint: str) -> posix.Lock | None:
    """Bind the socket of a bus; raise `EndpointError` where another bus has the place.

    For ``ipc`` a lock beside the socket is held as long as the bus lives: libzmq itself would
    silently take over the path of a bus that is running.
    """
    check_endpoint(endpoint)
    lock = None
    if endpoint.startswith("ipc://"):
        path = Path(endpoint.removeprefix("ipc://"))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = posix.Lock(path.with_name(path.name + ".lock"))
        except BlockingIOError:
            raise EndpointError(
                f"a bus is already running at {endpoint}; stop it, or set bus.endpoint to another"
            ) from None
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        if lock is not None:
            lock.release()
        if error.errno == zmq.EADDRINUSE:
            raise EndpointError(
                f"{endpoint} is taken by another program; set bus.endpoint to another"
            ) from None
        raise EndpointError(f"cannot listen at {endpoint}: {error.strerror}") from None
    return lock
