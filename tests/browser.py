"""What headless Chromium makes of a page: its elements, its console, and every request that leaves it."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-features=NetworkTimeServiceQuerying",
)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=4000")


def visited(folder: Path, page: bytes, *, timeout: int = 180) -> tuple[str, list[str], list[str]]:
    """The page served on this machine and drawn: (elements, console lines, requests beyond the page itself)."""
    return drawn(folder, {"/page.html": page}, timeout=timeout)


def drawn(folder: Path, pages: Mapping[str, bytes], *more: str, timeout: int = 180) -> tuple[str, list[str], list[str]]:
    """The first of several pages drawn with further options; requests for any of them are no news."""
    asked: list[str] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.headers['Host']}{self.path}")
            self.send_response(200 if self.path in pages else 404)
            kind = "text/javascript" if self.path.endswith(".js") else "text/html"
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.end_headers()
            self.wfile.write(pages.get(self.path, b""))

        def log_message(self, *_args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = f"127.0.0.1:{server.server_port}"
        # whatever the page would ask of another host is sent here too
        mapped = f"--host-resolver-rules=MAP * {home}"
        profile = f"--user-data-dir={folder}/profile"
        words = [
            str(CHROMIUM),
            *OPTIONS,
            *QUIET,
            *more,
            mapped,
            profile,
            "--dump-dom",
            f"http://{home}{next(iter(pages))}",
        ]
        found = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=True)
        server.shutdown()
    said = [line for line in found.stderr.splitlines() if "CONSOLE" in line and "source: chrome://" not in line]
    return found.stdout, said, [place for place in asked if place not in {home + path for path in pages}]
