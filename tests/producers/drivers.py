"""Every supported driver: do something in a transaction, which commits or fails."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psycopg
from psycopg.rows import dict_row
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

Act = Callable[[Any], Any]


class FailedError(Exception):
    """A transaction fails."""


async def _by_asyncpg(url: str, act: Act, *, fail: bool) -> None:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await act(connection)
            if fail:
                raise FailedError
    finally:
        await connection.close()


async def _by_asyncpg_pool(url: str, act: Act, *, fail: bool) -> None:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        async with pool.acquire() as connection, connection.transaction():
            await act(connection)
            if fail:
                raise FailedError


async def _by_async_psycopg(url: str, act: Act, *, fail: bool) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await act(connection)
        if fail:
            raise FailedError


async def _by_async_sqlalchemy(url: str, act: Act, *, fail: bool) -> None:
    engine = create_async_engine(_with(url, "postgresql+asyncpg"), poolclass=NullPool)
    async with engine.begin() as connection:
        await act(connection)
        if fail:
            raise FailedError


async def _by_async_session(url: str, act: Act, *, fail: bool) -> None:
    engine = create_async_engine(_with(url, "postgresql+psycopg"), poolclass=NullPool)
    async with AsyncSession(engine) as session, session.begin():
        await act(session)
        if fail:
            raise FailedError


def _by_psycopg(url: str, act: Act, *, fail: bool) -> None:
    with psycopg.connect(url) as connection:
        act(connection)
        if fail:
            raise FailedError


def _by_psycopg_with_dicts(url: str, act: Act, *, fail: bool) -> None:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        act(connection)
        if fail:
            raise FailedError


def _by_sqlalchemy(url: str, act: Act, *, fail: bool) -> None:
    engine = create_engine(_with(url, "postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        act(connection)
        if fail:
            raise FailedError


def _by_session(url: str, act: Act, *, fail: bool) -> None:
    engine = create_engine(_with(url, "postgresql+psycopg"), poolclass=NullPool)
    with Session(engine) as session, session.begin():
        act(session)
        if fail:
            raise FailedError


def _by_scoped_session(url: str, act: Act, *, fail: bool) -> None:
    engine = create_engine(_with(url, "postgresql+psycopg"), poolclass=NullPool)
    session = scoped_session(sessionmaker(engine))
    try:
        act(session)
        if fail:
            raise FailedError
        session.commit()
    finally:
        session.remove()


def _by_django(url: str, act: Act, *, fail: bool) -> None:
    connection = django_connection(url)
    from django.db import transaction

    try:
        with transaction.atomic():
            act(connection)
            if fail:
                raise FailedError
    finally:
        connection.close()


def django_connection(url: str) -> Any:
    """Django's connection to a database."""
    import django
    from django.conf import settings
    from django.db import connection

    parts = urlsplit(url)
    (host,) = parse_qs(parts.query)["host"]
    if not settings.configured:
        engine = {"ENGINE": "django.db.backends.postgresql", "USER": parts.username}
        settings.configure(DATABASES={"default": engine}, USE_TZ=True)
        django.setup()
    connection.settings_dict.update(NAME=parts.path[1:], HOST=host)
    return connection


def _with(url: str, scheme: str) -> str:
    return f"{scheme}{url.removeprefix('postgresql')}"


_ASYNC = {
    "asyncpg": _by_asyncpg,
    "asyncpg's pool": _by_asyncpg_pool,
    "psycopg's AsyncConnection": _by_async_psycopg,
    "SQLAlchemy's AsyncConnection": _by_async_sqlalchemy,
    "SQLAlchemy's AsyncSession": _by_async_session,
}
_SYNC = {
    "psycopg": _by_psycopg,
    "psycopg with dicts": _by_psycopg_with_dicts,
    "SQLAlchemy's Connection": _by_sqlalchemy,
    "SQLAlchemy's Session": _by_session,
    "SQLAlchemy's scoped_session": _by_scoped_session,
    "Django": _by_django,
}
DRIVERS = (*_ASYNC, *_SYNC)


def transact(driver: str, url: str, act: Act, *, fail: bool = False) -> None:
    """Call `act` with a connection in a transaction; raises FailedError if that is to fail."""
    if driver in _ASYNC:
        asyncio.run(_ASYNC[driver](url, act, fail=fail))
    else:
        _SYNC[driver](url, act, fail=fail)
