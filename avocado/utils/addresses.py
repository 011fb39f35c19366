"""Passwords in addresses, `scheme://user:password@host`, which are shown to nobody."""

from __future__ import annotations

import re

_LOGIN = re.compile(r"(?<=://)[^/@\s\"']*@")
_PASSWORD = re.compile(r"(?<=/)([^\s/:@'\"]*):[^\s@'\"]*@")  # also where a / is missing before it
_IN_QUERY = re.compile(r"(?<=[?&])(password|passwd|sslpassword)=[^\s&'\"]*", re.IGNORECASE)


def hide_passwords(text: str) -> str:
    """The text with `user@` for `user:password@`, and without the passwords in queries of addresses."""
    return _IN_QUERY.sub(r"\1=", _PASSWORD.sub(r"\1@", text))


def hide_logins(text: str) -> str:
    """The text without user and password in addresses."""
    return _LOGIN.sub("", hide_passwords(text))
