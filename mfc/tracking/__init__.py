"""The edge to MLflow: the only importer of it (`mfc.tracking.serving` beside it is what MLflow itself loads).

Everything that a run logs goes through a spool on disk (`mfc.tracking.spool`): a stage never waits for the
server, and neither an outage nor `kill -9` loses a number. Only three things wait for the server themselves:
opening a run, opening a child run, and the model registry; they try again for `patience()` seconds.
"""

import os

# Read when mlflow is imported, so they come first; a user's own settings win.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

from mfc.errors import UserError

try:
    import mlflow  # noqa: F401
except ValueError as error:  # of a variable that it reads meanwhile
    raise UserError(f"MLflow does not start: {error}; mend or unset that variable") from None

from mfc.tracking.context import code_version
from mfc.tracking.delivery import spool_root
from mfc.tracking.names import (
    CHAMPION_ALIAS,
    PRETRAINED_ALIAS,
    REGISTERED_MODEL,
    alias_for_title,
    safe_key,
    safe_path,
)
from mfc.tracking.opening import STAND_IN_MARK, open_run
from mfc.tracking.registry import (
    ENCODER_FILES,
    fetch_encoder,
    find_version,
    promote_version,
    register_encoder,
)
from mfc.tracking.replay import replay
from mfc.tracking.run import Run
from mfc.tracking.search import child_metrics
from mfc.tracking.settings import patience
from mfc.tracking.store import connect

__all__ = [
    "CHAMPION_ALIAS",
    "ENCODER_FILES",
    "PRETRAINED_ALIAS",
    "REGISTERED_MODEL",
    "STAND_IN_MARK",
    "Run",
    "alias_for_title",
    "child_metrics",
    "code_version",
    "connect",
    "fetch_encoder",
    "find_version",
    "open_run",
    "patience",
    "promote_version",
    "register_encoder",
    "replay",
    "safe_key",
    "safe_path",
    "spool_root",
]
