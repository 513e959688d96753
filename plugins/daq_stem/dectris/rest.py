"""The SIMPLON interface of a DECTRIS detector: settings and commands over HTTP."""

from __future__ import annotations

import http.client
import json
from typing import Any, Final

VERSION: Final = "1.8.0"


class SimplonError(ValueError):
    """The detector has refused something; says what, and what the detector said."""


class Simplon:
    """Asks a detector control unit and tells it what to do.

    Each call is a connection of its own: one may wait (``trigger`` does until its images are
    taken) while another thread aborts.

    Parameters
    ----------
    host, port
        Of the control unit.
    timeout
        Seconds for an answer, `command` excepted where it says so.

    Raises
    ------
    OSError
        Where the control unit does not answer. `SimplonError` where it answers that it will not.
    """

    def __init__(self, host: str, port: int = 80, timeout: float = 10.0) -> None:
        self._host, self._port, self._timeout = host, port, timeout

    def get(self, module: str, kind: str, name: str) -> Any:
        """Return a value: ``get("detector", "status", "state")``."""
        found = self._ask("GET", f"{module}/api/{VERSION}/{kind}/{name}", None, self._timeout)
        if not isinstance(found, dict) or "value" not in found:
            raise SimplonError(f"{module} {kind} {name}: answered {str(found)[:80]!r}, no value")
        return found["value"]

    def set(self, module: str, name: str, value: Any) -> None:
        """Change a setting: ``set("detector", "ntrigger", 7200)``."""
        path = f"{module}/api/{VERSION}/config/{name}"
        self._ask("PUT", path, {"value": value}, self._timeout)

    def command(self, name: str, timeout: float | None = None) -> int | None:
        """Send arm, trigger, disarm, cancel or abort; return the number of the series, if it says one."""
        path = f"detector/api/{VERSION}/command/{name}"
        found = self._ask("PUT", path, None, self._timeout if timeout is None else timeout)
        series = found.get("sequence id") if isinstance(found, dict) else None
        return series if isinstance(series, int) else None

    def state(self) -> str:
        """Return what the detector does: idle, ready, acquire, error ..."""
        return str(self.get("detector", "status", "state"))

    def _ask(self, method: str, path: str, body: Any, timeout: float) -> Any:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            text = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} if text else {"Content-Length": "0"}
            connection.request(method, f"/{path}", text, headers)
            answer = connection.getresponse()
            said = answer.read(1 << 24)
        except http.client.HTTPException as error:
            raise SimplonError(f"{path}: no HTTP: {error!r:.80}") from None
        finally:
            connection.close()
        if answer.status >= 400:
            reason = said.decode("utf-8", "replace").strip()[:200]
            raise SimplonError(
                f"{method} {path}: {answer.status} {answer.reason} {reason}".rstrip()
            )
        try:
            return json.loads(said) if said.strip() else None
        except ValueError:
            raise SimplonError(f"{path}: the answer is no JSON") from None
