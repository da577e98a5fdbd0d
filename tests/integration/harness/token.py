"""Tokens as a login service makes them (HS256), and as an attacker does."""

import base64
import hashlib
import hmac
import json
import time

SECRET = "a secret of the login service, 32 bytes and more"


def part(value):
    """JSON, or bytes as they are, in base64url."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signature(text, secret=SECRET):
    return part(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())


def token(secret=SECRET, header=None, seconds=3600, **claims):
    """It expires `seconds` from now, unless the claims say otherwise."""
    claims.setdefault("exp", int(time.time()) + seconds)
    text = f"{part(header or {'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}"
    return f"{text}.{signature(text, secret)}"


def bearer(text=None, **claims):
    """The header of a request, for a token or for one of these claims."""
    return [("authorization", f"Bearer {text or token(**claims)}")]
