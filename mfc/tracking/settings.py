"""What the environment asks of tracking, checked before any work begins."""

from __future__ import annotations

import math
import os

from mlflow import environment_variables
from mlflow.exceptions import MlflowException
from mlflow.utils.rest_utils import _validate_backoff_factor, _validate_max_retries

from mfc.errors import UserError

_LIMITS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": _validate_max_retries,
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": _validate_backoff_factor,
}
"""What MLflow would say at each request, as if the server refused it."""


def patience() -> float:
    """Seconds to wait for a server that went away, before what is unsent is left for `mfc replay`."""
    return _seconds("MFC_TRACKING_PATIENCE", default=300, least=0)


def sampling_interval() -> float:
    """Seconds between two samples of processor, memory, disk, network and GPU."""
    return _seconds("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", default=10, least=0.1)


def check_environment() -> None:
    """Look at every setting of MLflow's and our own that somebody made.

    Raises:
        UserError: naming the variable and its value.
    """
    patience()
    sampling_interval()
    _seconds("MLFLOW_HTTP_REQUEST_TIMEOUT", default=30, least=1)
    for variable in vars(environment_variables).values():
        if isinstance(variable, environment_variables._EnvironmentVariable) and variable.is_set():
            try:
                _LIMITS.get(variable.name, lambda value: None)(variable.get())
            except (ValueError, MlflowException):
                raise UserError(
                    f"{variable.name}={variable.get_raw()}: MLflow takes no such value; mend or unset it"
                ) from None


def _seconds(name: str, *, default: float, least: float) -> float:
    given = os.environ.get(name, str(default))
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= least):
        raise UserError(f"{name}={given}: not a number of seconds, {least:g} or more; mend or unset it")
    return value
