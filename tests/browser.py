"""A headless Chromium, spoken to through chromedriver by the W3C WebDriver protocol."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

START_SECONDS = 60.0
CALL_SECONDS = 120.0
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
)


def is_installed() -> bool:
    """Whether Debian's chromium and chromium-driver, or the like, are there."""
    return shutil.which("chromedriver") is not None and _browser() is not None


def _browser() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-headless-shell")


class Browser:
    """One page in one window; owns the driver and the browser until it is left."""

    def __init__(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        options: dict[str, Any] = {
            "binary": _browser(),
            "args": [*ARGUMENTS, f"--window-size={width},{height}"],
        }
        if phone:
            metrics = {
                "width": width,
                "height": height,
                "pixelRatio": 2.0,
                "touch": True,
                "mobile": True,
            }
            options["mobileEmulation"] = {"deviceMetrics": metrics}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        try:
            self._wait()
            made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self._driver.kill()
            raise
        self._session = f"/session/{made['sessionId']}"
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def devtools(self, command: str, **parameters: Any) -> Any:
        """What a command of the Chrome DevTools Protocol answers."""
        return self._call(
            "POST", f"{self._session}/goog/cdp/execute", {"cmd": command, "params": parameters}
        )

    def open(self, path: Path) -> None:
        """Open a file from disk, and wait until it is loaded."""
        self._call("POST", f"{self._session}/url", {"url": path.absolute().as_uri()})

    def run(self, script: str) -> Any:
        """What a function body returns in the page; promises are waited for."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def wait_for(self, condition: str, seconds: float = 30.0) -> None:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press and let go of a key."""
        strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        actions = [{"type": "key", "id": "keyboard", "actions": strokes}]
        self._call("POST", f"{self._session}/actions", {"actions": actions})

    def click(self, selector: str) -> None:
        """Click the first element that a CSS selector finds."""
        found = self._call(
            "POST", f"{self._session}/element", {"using": "css selector", "value": selector}
        )
        (name,) = found.values()
        self._call("POST", f"{self._session}/element/{name}/click", {})

    def complaints(self) -> list[str]:
        """What the page wrote to the console as a warning or an error since the last call."""
        entries = self._call("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._call("DELETE", self._session, None)
        finally:
            self._driver.terminate()
            self._driver.wait()

    def _wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self._call("GET", "/status", None)
                return
            except (URLError, ConnectionError):
                assert time.monotonic() < end, "chromedriver did not start"
                time.sleep(0.1)

    def _call(self, method: str, path: str, content: object) -> Any:
        body = None if content is None else json.dumps(content).encode()
        request = Request(f"http://127.0.0.1:{self._port}{path}", data=body, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urlopen(request, timeout=CALL_SECONDS) as answer:
                return json.load(answer)["value"]
        except URLError as error:
            if hasattr(error, "read"):
                raise AssertionError(error.read().decode()) from error
            raise
