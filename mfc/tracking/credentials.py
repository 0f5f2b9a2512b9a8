"""Users and passwords in the address of a store: taken out before anything is printed or kept."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote

from mfc.errors import UserError

HIDDEN = "***"
DATABASES = ("postgresql", "mysql", "mssql")
_URI = re.compile(r"(?!(?:sqlite[\w+]*|file):///)(?<![\w+.-])([\w+.-]*)://\S*@", re.I)
"""Not of a path on this machine: an ``@`` there is part of a name."""
_BARE = re.compile(r"(?<![\w/:])[\w.+-]+:(?![/\\\s])\S*@")
_QUERY = re.compile(r"(?i)([?&;][\w.-]*(?:password|passwd|pwd|token|secret|odbc_connect)[\w.-]*=)[^&;\s]+")


def redacted(text: str) -> str:
    """A text without the user and password of the addresses in it, nor passwords in their queries.

    The last ``@`` of an address ends its password, which may hold ``@`` and ``/`` as they are.

    >>> redacted("postgresql://me:p@ss/word@db.example.org/mlflow is away")
    'postgresql://***@db.example.org/mlflow is away'
    """
    text = _QUERY.sub(rf"\1{HIDDEN}", text)
    text = _URI.sub(rf"\1://{HIDDEN}@", text)
    return _BARE.sub(f"{HIDDEN}@", text)


def is_redacted(uri: str) -> bool:
    """Whether something was taken out of this address."""
    return f"://{HIDDEN}@" in uri or f"={HIDDEN}" in uri


def split_login(uri: str) -> tuple[str, str | None, str | None]:
    """An address without its login, the user and the password; None for what it does not have."""
    match = re.fullmatch(r"([\w+.-]+)://([^/].*)", uri, re.S)
    if match is None:
        return uri, None, None
    scheme, rest = match.groups()
    # An @ after host, port and slash belongs to these; so does one in the query of a database.
    before_query = re.split(r"[?#]", rest, maxsplit=1)[0]
    query_counts = scheme.lower().startswith("http") or "@" not in before_query
    at = rest.rfind("@") if query_counts else before_query.rfind("@")
    if at < 0 or re.match(r"(\[[^\]]*\]|[^/@:?#]+)(:\d+)?([/?#]|$)", rest):
        return uri, None, None
    user, colon, password = rest[:at].partition(":")
    return f"{scheme}://{rest[at + 1 :]}", unquote(user), unquote(password) if colon else None


def without_login(uri: str) -> str:
    """The address to use: that of a server without its login, which goes into this process's environment.

    MLflow reads ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD`` there, and prints the address.
    That of a database keeps its login, in the form that SQLAlchemy reads.

    Raises:
        UserError: for a login that no environment can hold.
    """
    bare, user, password = split_login(uri)
    if user is None:
        return uri
    scheme, _, rest = bare.partition("://")
    if scheme.lower() in ("http", "https"):
        if "\0" in f"{user}{password}":
            raise UserError(f"{redacted(uri)}: a character 0 in the user or password; mend the address")
        os.environ["MLFLOW_TRACKING_USERNAME"] = user
        if password is not None:
            os.environ["MLFLOW_TRACKING_PASSWORD"] = password
        return bare
    if scheme.lower().startswith(DATABASES):
        login = quote(user, safe="") + ("" if password is None else f":{quote(password, safe='')}")
        return f"{scheme}://{login}@{rest}"
    return uri
