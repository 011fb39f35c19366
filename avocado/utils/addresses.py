"""Passwords in addresses, `scheme://user:password@host`, which are shown to nobody."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence

STORAGE_PASSWORD = "AVOCADO_STORAGE_PASSWORD"  # environment variable: of the address that has a user and no password
_LOGIN = re.compile(r"(?<=://)[^/@\s\"']*@")
_PASSWORD = re.compile(r"(?<=/)([^\s/:@'\"]*):[^\s@'\"]*@")  # also where a / is missing before it
_IN_QUERY = re.compile(r"(?<=[?&])(password|passwd|sslpassword)=[^\s&'\"]*", re.IGNORECASE)


def hide_passwords(text: str) -> str:
    """The text with `user@` for `user:password@`, and without the passwords in queries of addresses."""
    return _IN_QUERY.sub(r"\1=", _PASSWORD.sub(r"\1@", text))


def hide_logins(text: str) -> str:
    """The text without user and password in addresses."""
    return _LOGIN.sub("", hide_passwords(text))


def keep_password(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command with addresses of databases that lack their password, for all that is ever shown.

    `search.storage.connect` finds it in the environment, which further processes share.
    """
    kept = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key.rpartition(".")[2] == "storage":
            from sqlalchemy.engine import make_url
            from sqlalchemy.exc import ArgumentError

            with contextlib.suppress(ArgumentError):
                url = make_url(value.strip("'\""))
                password = url.password or url.query.get("password")
                if password and "${" not in str(password):
                    os.environ[STORAGE_PASSWORD] = str(password)
                    public = url._replace(password=None).difference_update_query(["password"])
                    argument = f"{key}={public.render_as_string(hide_password=False)}"
        kept.append(argument)
    return kept
