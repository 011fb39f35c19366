"""The database of a study: its address, its driver, its tables, and patience with a server that is away."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy.exc
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import URL, make_url

from avocado.errors import InputError
from avocado.utils.addresses import STORAGE_PASSWORD, hide_passwords

log = logging.getLogger(__name__)
LOCK_TIMEOUT = 60  # seconds that SQLite waits for other workers' short transactions
CONNECT_TIMEOUT = 10  # seconds until a server has to answer
SILENCE = 60  # seconds after which a connection counts as lost
PATIENCE = 900  # seconds that a worker waits for a server that is away
RETRY = 1.0  # seconds between two tries
DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}  # that the extras install
EXTRAS = {"psycopg": "postgres", "pymysql": "mysql"}
LIBPQ = {"connect_timeout": CONNECT_TIMEOUT, "keepalives_idle": SILENCE // 2, "tcp_user_timeout": SILENCE * 1000}
OPTIONS = {  # of connections, by the driver's name
    "psycopg": LIBPQ,
    "psycopg2": LIBPQ,
    "pymysql": {"connect_timeout": CONNECT_TIMEOUT, "read_timeout": SILENCE, "write_timeout": SILENCE},
    "mysqldb": {"connect_timeout": CONNECT_TIMEOUT},
    "pysqlite": {"timeout": LOCK_TIMEOUT},
}
_back = -float("inf")  # when a server that this process had waited for answered again


@contextlib.contextmanager
def storage_errors(storage: str) -> Iterator[None]:
    """What goes wrong with a database becomes a one-line InputError, without the password."""
    try:
        yield
    except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        if not isinstance(cause, sqlalchemy.exc.SQLAlchemyError) and "optuna" not in str(cause):
            raise
        told = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
        raise InputError(
            f"cannot use the study storage {hide_passwords(storage)}: {hide_passwords(told)}; check that it can be "
            "reached and written, or choose another with sweep.storage="
        ) from None


def require_storage(storage: str) -> None:
    """Raise InputError, before any work, where a database's driver is missing or its server does not let us in."""
    with storage_errors(storage):
        url = _url(storage)
        _require_driver(url)
        if url.get_backend_name() != "sqlite":
            connect(storage)


def connect(storage: str) -> RDBStorage:
    """A database with the tables of studies, made where they are not there.

    storage: an address such as postgresql://user@host/name; its password may be in the environment instead. Raises
    errors of SQLAlchemy and Optuna, and InputError for a driver that is missing.
    """
    url = _url(storage)
    _require_driver(url)
    options = {key: value for key, value in OPTIONS.get(url.get_driver_name(), {}).items() if key not in url.query}
    kind = RDBStorage if url.get_backend_name() == "sqlite" else PatientStorage
    arguments = {"connect_args": options, "pool_pre_ping": kind is PatientStorage}
    for attempt in range(20):
        try:
            database = kind(url.render_as_string(hide_password=False), engine_kwargs=dict(arguments))
            weakref.finalize(database, database.engine.dispose)
            return database
        except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
            # several workers that start at once all make the tables
            made_by_other = "already exists" in str(error.__cause__ or error) or "already exists" in str(error)
            if attempt == 19 or not (made_by_other or isinstance(error, sqlalchemy.exc.IntegrityError)):
                raise
            time.sleep(0.1)
    raise AssertionError


def _url(storage: str) -> URL:
    url = make_url(storage)
    if url.drivername in DRIVERS:  # SQLAlchemy's own choice depends on its version
        url = url.set(drivername=DRIVERS[url.drivername])
    named = url.username or "user" in url.query
    if named and not url.password and "password" not in url.query and os.environ.get(STORAGE_PASSWORD):
        url = url.set(password=os.environ[STORAGE_PASSWORD])
    return url


def _require_driver(url: URL) -> None:
    try:
        url.get_dialect().import_dbapi()
    except ImportError as error:
        driver = error.name or url.get_driver_name()
        extra = EXTRAS.get(driver)
        how = f'"avocado-imputation[{extra}]", in a checkout pip install -e ".[{extra}]"' if extra else driver
        raise InputError(
            f"{url.drivername}:// needs the package {driver}, which is not here: pip install {how}"
        ) from None


class PatientStorage(RDBStorage):
    """Waits up to `PATIENCE` seconds for a server that is away: a trial that took hours is worth more than an error.

    Only the main thread waits, so that nothing else keeps a worker that is told to stop.
    """


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        global _back
        began, waited = time.monotonic(), False
        while True:
            try:
                answer = method(*arguments, **options)
            except StorageInternalError as error:
                if not _is_away(error) or time.monotonic() - began > PATIENCE:
                    raise
                if not waited:
                    log.warning(
                        "the study's database does not answer (%s): trying again for %d minutes, nothing is lost",
                        hide_passwords(str(getattr(error.__cause__, "orig", error.__cause__)).strip().splitlines()[0]),
                        PATIENCE // 60,
                    )
                waited = True
                time.sleep(RETRY)
                continue
            if waited:
                log.warning("the study's database answers again")
                _back = time.monotonic()
            return answer

    return call


def _is_away(error: StorageInternalError) -> bool:
    away = isinstance(error.__cause__, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
    return away and threading.current_thread() is threading.main_thread()


def back_since() -> float:
    """When, by `time.monotonic`, a server that this process had waited for answered again; −infinity without that."""
    return _back


for _name in {*BaseStorage.__abstractmethods__, "_create_new_trial", "_set_trial_param", "_get_trials"}:
    if hasattr(RDBStorage, _name):
        setattr(PatientStorage, _name, _patient(getattr(RDBStorage, _name)))
