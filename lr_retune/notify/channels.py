"""How a message leaves the machine: a signed webhook, or Apprise. Each says why it could not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from lr_retune import __version__
from lr_retune.config import Config, demand_https, resolve_secret
from lr_retune.errors import RetuneError
from lr_retune.masks import conceal
from lr_retune.notify.message import Message
from lr_retune.notify.post import post

BASE64 = "whsec_"  # how a key begins that stands in base64, as Standard Webhooks writes it


class NotDeliveredError(Exception):
    """Why a message did not arrive, in words without an address.

    Parameters
    ----------
    away
        Nobody answers there: another message would not arrive either.
    """

    def __init__(self, why: str, *, away: bool = True) -> None:
        super().__init__(why)
        self.away = away


def send(config: Config, channel: str, message: Message, seconds: float, now: int) -> None:
    """Deliver a message within so many seconds, whatever the other side does.

    Parameters
    ----------
    now
        Seconds since 1970: when it is signed.

    Raises
    ------
    NotDeliveredError
        If it did not arrive, as far as we know.
    """
    way = {"webhook": _webhook, "apprise": _apprise}[channel]
    _within(seconds, lambda: way(config, message, seconds, now))


def signature(key: str, id: str, timestamp: int, body: bytes) -> str:
    """HMAC-SHA256 of ``id.timestamp.body`` in base64, as Standard Webhooks 1.0 defines it.

    >>> signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
    ...           b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    secret = base64.b64decode(key.removeprefix(BASE64)) if key.startswith(BASE64) else key.encode()
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    return f"v1,{base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()}"


# ── a webhook ─────────────────────────────────────────────────────────────────────────────────────
def _webhook(config: Config, message: Message, seconds: float, now: int) -> None:
    url, body = _address(config), message.body
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"lr-retune/{__version__}",
        "webhook-id": message.key,
        "webhook-timestamp": str(now),
    }
    if config.notify.secret_env is not None:
        headers["webhook-signature"] = signature(_variable(config, config.notify.secret_env), message.key, now, body)
    host = urlsplit(url).hostname
    try:
        code = post(url, body, headers, seconds)
    except OSError as error:
        why = getattr(error, "reason", None) or error
        why = getattr(why, "strerror", None) or str(why) or type(why).__name__
        raise NotDeliveredError(f"{host} does not answer: {why}") from None
    if not 200 <= code < 300:
        away = code >= 500 or code == 429  # else the next message may suit it better than this one
        raise NotDeliveredError(f"{host} answers HTTP {code}", away=away)


def _address(config: Config) -> str:
    """The webhook's address; one that was kept out of the file is kept out of every word, too."""
    asked = str(config.notify.webhook)
    found = resolve_secret(asked, config.root)
    if found != asked:
        conceal(found)
        try:
            demand_https(found)
        except ValueError as error:
            raise NotDeliveredError(f"[notify] webhook {asked} {error}") from None
    return found


def _variable(config: Config, name: str) -> str:
    found = resolve_secret(f"env:{name}", config.root)
    conceal(found)
    return found


# ── Apprise ───────────────────────────────────────────────────────────────────────────────────────
def _apprise(config: Config, message: Message, _seconds: float, _now: int) -> None:
    try:
        import apprise
    except ImportError:
        raise NotDeliveredError("Apprise is not installed: pip install 'lr-retune[notify]'") from None
    addresses = _variable(config, str(config.notify.apprise_env)).replace(",", " ").split()
    told = apprise.Apprise()
    for number, address in enumerate(addresses, 1):
        conceal(address)
        if not told.add(address):
            raise NotDeliveredError(f"address {number} in {config.notify.apprise_env} is none that Apprise knows")
    if not told.notify(title=message.title, body=message.plain, body_format=apprise.NotifyFormat.TEXT):
        raise NotDeliveredError("Apprise could not deliver to every address")


# ── never longer ──────────────────────────────────────────────────────────────────────────────────
def _within(seconds: float, work: Callable[[], None]) -> None:
    """Do it in a thread that is left behind when the time is over: a server may answer byte by byte for ever."""
    failed: list[NotDeliveredError] = []
    done = threading.Event()

    def run() -> None:
        try:
            work()
        except NotDeliveredError as error:
            failed.append(error)
        except RetuneError as error:
            failed.append(NotDeliveredError(error.what))
        except Exception as error:  # noqa: BLE001 - a channel that breaks is told, and breaks no run
            failed.append(NotDeliveredError(f"{type(error).__name__} while sending"))
        done.set()

    threading.Thread(target=run, name="notify", daemon=True).start()
    if not done.wait(seconds):
        raise NotDeliveredError(f"no answer within {seconds:.1f} s")
    if failed:
        raise failed[0]
