"""URLs of databases as people have them, and plain words for what is wrong with one."""

from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import asyncpg

from dispatch_grpc.text import quoted

_SCHEMES = {"postgresql", "postgres"}
_SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
# Settings of libpq and of SQLAlchemy that asyncpg would send to the server, which refuses them.
_UNKNOWN = {
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "channel_binding",
    "prepared_statement_cache_size",
    "async_fallback",
}


def normal_url(url: str) -> str:
    """Return a database's URL as asyncpg takes it: without a driver's name, with `sslmode`.

    Raises:
        ValueError: It is not the URL of a PostgreSQL.
    """
    scheme, colon, rest = url.partition(":")
    scheme, _, _ = scheme.partition("+")
    if not colon or scheme not in _SCHEMES:
        raise ValueError(
            f"the database's URL must begin with postgresql://; it begins with {quoted(scheme, 20)}"
        )
    parts = urlsplit(f"{scheme}:{rest}")
    settings = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in _UNKNOWN:
            continue
        if name == "ssl" and value in _SSL_MODES:  # SQLAlchemy's name for it
            settings.append(("sslmode", value))
        elif name == "ssl":
            settings.append(("sslmode", "require" if value.lower() in {"true", "1"} else "prefer"))
        else:
            settings.append((name, value))
    return urlunsplit(parts._replace(query=urlencode(settings)))


def problem_of(error: BaseException, url: str) -> str:
    """Return what is wrong with a database, where, and what to do; never a password."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    host = parts.hostname or query.get("host", "the local socket")
    where = f"{host}:{_port(url) or 5432}"
    database = unquote(parts.path.removeprefix("/")) or "the default database"
    role = unquote(parts.username or "") or "the default role"
    place = f"database {database!r} on {where} as role {role!r}"
    return f"the database cannot be used: {place}: {_cause(error, database, role, str(host))}"


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        return None


def _cause(error: BaseException, database: str, role: str, host: str) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return f'it does not exist; create it: CREATE DATABASE "{database}"'
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return (
            f'{text}; grant it: GRANT CREATE ON DATABASE "{database}" TO "{role}", or run '
            f"'dispatch-grpc migrate' with a role that has the rights"
        )
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return f"{text}; check the role and the password"
    if "startup parameter" in text:
        return (
            f"{text}; this is a pooler, such as PgBouncer in transaction mode, through which the "
            f"service does not work: give the URL of PostgreSQL itself"
        )
    if isinstance(error, TimeoutError):
        return "there was no answer in time; check host, port and firewall"
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in text:
        return "nothing listens there; check host and port, and whether PostgreSQL runs"
    if isinstance(error, OSError):
        return f"it cannot be reached: {text}; check the host {host!r}"
    return f"{type(error).__name__}: {text}"
