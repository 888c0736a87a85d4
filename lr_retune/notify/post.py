"""A body to one address and nowhere else: no redirect, no link-local peer, and in the clear only on this machine."""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from lr_retune.config import inward


def post(url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> int:
    """The status of the answer; its words are not read.

    Parameters
    ----------
    url
        https://, or http:// on this machine's loopback.

    Raises
    ------
    OSError
        If nobody answers, or somebody whom a message must not reach.
    """
    request = urllib.request.Request(url, body, dict(headers), method="POST")
    direct = [urllib.request.ProxyHandler({})] if request.type == "http" else []  # the loopback is nobody else's
    opener = urllib.request.build_opener(_Stay, _Http, _Https, *direct)
    try:
        with opener.open(request, timeout=seconds) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        return None


class _Plain(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        if not ipaddress.ip_address(peer(self.sock)).is_loopback:
            self.close()
            raise OSError("its name leads away from this machine")


class _Secure(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        if inward(peer(self.sock)):  # asked of the connection itself: a name may mean another address a moment later
            self.close()
            raise OSError("its name leads to a link-local address, where machines keep their own secrets")


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_Plain, request)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_Secure, request, context=ssl.create_default_context())


def peer(sock: Any) -> str:
    """The address at the other end."""
    return str(sock.getpeername()[0]).partition("%")[0]
