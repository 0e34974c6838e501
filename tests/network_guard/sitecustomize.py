"""Refuses connections beyond this machine, in the tests and in every Python process that they start.

Python imports a module of this name at start when its folder is on PYTHONPATH; `conftest.py` puts it there. A
library that fetches something behind our back is found out by the test that uses it.
"""

import ipaddress
import socket
import sys

_NAMES = {"", "localhost", socket.gethostname()}


def _is_local(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if host is None or host in _NAMES:
        return True
    try:
        address = ipaddress.ip_address(str(host))
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _guard(event: str, args: tuple) -> None:
    if event in ("socket.connect", "socket.sendto"):
        family, address = args[0].family, args[1]
        if family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
            raise OSError(f"the tests may not reach the network: {event} {address}")
    elif event == "socket.getaddrinfo" and not _is_local(args[0]):
        raise OSError(f"the tests may not reach the network: name look-up of {args[0]!r}")


sys.addaudithook(_guard)
