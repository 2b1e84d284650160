"""The server's log: one line a request, with nothing in it that was asked or answered."""

from __future__ import annotations

import logging
from typing import Any

# What a line about a request is made of, see gate.py.
FIELDS = ("request_id", "method", "door", "status", "milliseconds", "tenant", "key")


class RequestFormatter(logging.Formatter):
    """Writes what is known of a request behind the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        known = (f"{name}={getattr(record, name)}" for name in FIELDS if getattr(record, name, "") != "")
        return " ".join([super().format(record), *known])


def log_config(*, as_json: bool) -> dict[str, Any]:
    """Return the configuration for :func:`logging.config.dictConfig`."""
    written = "%(asctime)s %(levelname)s %(name)s %(message)s"
    line: dict[str, Any] = {"()": f"{__name__}.RequestFormatter", "fmt": written}
    if as_json:
        line = {"()": "pythonjsonlogger.json.JsonFormatter", "fmt": written, "exclude_fields": ["color_message"]}
    names = ("rag_chain", "uvicorn")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": line},
        "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "loggers": {name: {"handlers": ["out"], "level": "INFO", "propagate": False} for name in names},
    }
