"""Databases of studies: addresses, drivers, and servers that do not answer."""

from __future__ import annotations

import os
import socket
import sys
import time

import pytest

from avocado.errors import InputError
from avocado.search import storage
from avocado.search.storage import require_storage
from avocado.utils.addresses import STORAGE_PASSWORD, hide_logins, hide_passwords, keep_password


@pytest.mark.parametrize(
    ("address", "public", "bare"),
    [
        ("postgresql://av:s3cret@host/db", "postgresql://av@host/db", "postgresql://host/db"),
        ("mysql+pymysql://av:s3/c:ret@host:1/db?a=b", "mysql+pymysql://av@host:1/db?a=b", "mysql+pymysql://host:1/db?a=b"),
        ("postgresql:///db?user=av&password=s3cret&a=b", "postgresql:///db?user=av&password=&a=b", None),
        ("postgresql:/av:s3cret@host/db", "postgresql:/av@host/db", None),
        ("storage: postgresql://:s3cret@host/db\n", "storage: postgresql://@host/db\n", "storage: postgresql://host/db\n"),
        ("sqlite:////data/a:b/c@d.db", "sqlite:////data/a@d.db", None),
        ("http://host:80/x", "http://host:80/x", "http://host:80/x"),
    ],
)  # fmt: skip
def test_addresses_without_passwords(address, public, bare):
    assert hide_passwords(address) == public
    assert hide_logins(address) == (bare or public)


@pytest.mark.parametrize("key", ["sweep.storage", "storage"])
@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("postgresql://av:s3cr%40t@host/db", "postgresql://av@host/db"),
        ("postgresql:///db?user=av&password=s3cr%40t&sslmode=require", "postgresql:///db?sslmode=require&user=av"),
    ],
)
def test_a_password_that_is_typed_is_kept_in_the_environment(monkeypatch, key, address, public):
    monkeypatch.setenv(STORAGE_PASSWORD, "")  # what is set here is gone after the test
    assert keep_password([f"{key}={address}", "runs=a"]) == [f"{key}={public}", "runs=a"]
    assert os.environ[STORAGE_PASSWORD] == "s3cr@t"
    assert storage._url(public).password == "s3cr@t"
    # another's, of nobody, and of the driver's own means
    assert storage._url(address).password == (None if "?" in address else "s3cr@t")
    assert storage._url("postgresql://host/db").password is None


@pytest.mark.parametrize("typed", ["sweep.storage=nonsense", "sweep.storage=sqlite:///a:b@c.db", "sweep.storage",
                                   "storage='postgresql://av:${oc.env:PW}@host/db'", "store=a://b:c@d"])  # fmt: skip
def test_what_has_no_password_stays(monkeypatch, typed):
    monkeypatch.delenv(STORAGE_PASSWORD, raising=False)
    assert keep_password([typed]) == [typed]
    assert STORAGE_PASSWORD not in os.environ


@pytest.mark.parametrize(
    ("address", "how"),
    [
        ("postgresql://host/db", r'the package psycopg, .*"avocado-imputation\[postgres\]"'),
        ("mysql://host/db", r'the package pymysql, .*"avocado-imputation\[mysql\]"'),
        ("postgresql+pg8000://host/db", r"the package pg8000, which is not here: pip install pg8000"),
    ],
)
def test_a_driver_that_is_missing_is_named(monkeypatch, address, how):
    for name in ("psycopg", "pymysql", "pg8000"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=how):
        require_storage(address)


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"])
def test_a_server_that_never_answers(monkeypatch, driver):
    pytest.importorskip(driver)
    monkeypatch.setitem(storage.OPTIONS, driver, {key: 2 for key in storage.OPTIONS[driver] if key.endswith("timeout")})
    backend = {"psycopg": "postgresql", "pymysql": "mysql"}[driver]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(InputError, match=r"cannot use the study storage .*tim.* out|timeout") as caught:
            require_storage(f"{backend}://av:s3cret@127.0.0.1:{silent.getsockname()[1]}/db")
    assert time.monotonic() - began < 30
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_drivers_of_servers_have_a_limit_of_their_own():
    assert all(options.get("connect_timeout", options.get("timeout", 0)) > 0 for options in storage.OPTIONS.values())
