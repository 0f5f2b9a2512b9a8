"""Names and values that MLflow accepts."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

REGISTERED_MODEL = "mfc-face-encoder"
PRETRAINED_ALIAS = "pretrained"
CHAMPION_ALIAS = "champion"
LONGEST_TAG = 8000


def safe_key(name: str) -> str:
    """A metric, param or tag name with the characters that MLflow refuses replaced by ``_``."""
    cleaned = re.sub(r"[^\w\-. /:]", "_", name)
    return "/".join(part if part.strip(".") else "_" for part in cleaned.split("/") if part) or "_"


def safe_path(name: str) -> str:
    """An artifact path below the run's folder; it can never climb out of it."""
    return safe_key(name).replace(":", "_")


def alias_for_title(title: str) -> str:
    """The registry alias of a title: itself where MLflow allows it, else a readable form and a hash.

    Two titles never share an alias, and none is ``latest``, ``v1`` or another reserved word.

    >>> alias_for_title("AkaiTori")
    'AkaiTori'
    """
    # Case is folded by some databases; a title that ends like a hash could be another's readable form.
    reserved = {"latest", PRETRAINED_ALIAS, CHAMPION_ALIAS}
    plain = re.fullmatch(r"[A-Za-z0-9_-]{1,200}", title) is not None
    if (
        plain
        and title.lower() not in reserved
        and not re.fullmatch(r"[vV]\d+", title)
        and not re.search(r"-[0-9a-f]{12}$", title)
    ):
        return title
    readable = re.sub(r"[^A-Za-z0-9_-]", "-", title)[:200]
    return f"{readable}-{hashlib.sha256(title.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def shortened(value: Any, longest: int) -> str:
    text = str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def clean_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    return {safe_key(k): shortened(v, LONGEST_TAG) for k, v in tags.items() if v is not None}


def chunks(values: Mapping[str, T], size: int) -> Iterator[dict[str, T]]:
    items = iter(values.items())
    while chunk := dict(itertools.islice(items, size)):
        yield chunk
