"""Asking a process for /metrics and /healthz: in plaintext, or on a secure stack as Prometheus, by its certificate."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping


def scrape(url: str, environ: Mapping[str, str]) -> tuple[int, str]:
    """The status and the body of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=300, context=_context(environ)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _context(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    folder = environ.get("FINANCE_TLS_DIR")
    if not folder:
        return None
    context = ssl.create_default_context(cafile=f"{folder}/ca.crt")
    context.load_cert_chain(f"{folder}/prometheus/tls.crt", f"{folder}/prometheus/tls.key")
    return context
