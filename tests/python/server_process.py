"""A microtome server of one's own, for tests: started on a free port, stopped at the end.

    with Server() as server: urllib.request.urlopen(server.url + "/healthz")

The program is MICROTOME_BIN, else MICROTOME (tests/run_all), else build/bin/microtome. Tests need the default model in the data
folder and are skipped where it is absent.
"""
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import unittest
import urllib.error
import urllib.request

MODEL = "smollm2-135m"
ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("MICROTOME_BIN") or os.environ.get("MICROTOME") or str(ROOT / "build" / "bin" / "microtome")


def has_model():
    done = subprocess.run([PROGRAM, "models", "--json"], capture_output=True, check=False)
    try:
        return any(model["name"] == MODEL for model in json.loads(done.stdout)["models"])
    except (ValueError, KeyError):
        return False


def need_model():
    if not os.access(PROGRAM, os.X_OK):
        raise unittest.SkipTest(f"no program at {PROGRAM}: build it, or set MICROTOME_BIN")
    if not has_model():
        raise unittest.SkipTest(f"the model {MODEL} is not in the data folder: `microtome pull {MODEL}` fetches it")


class Server:
    def __init__(self, *options, wait=True):
        self.process = subprocess.Popen([PROGRAM, "serve", MODEL, "--port", "0", *options], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("microtome is at http://"):
            raise RuntimeError(f"the server said {line!r}, {self.process.communicate()[1]!r}")
        self.url = line.split()[-1]
        self.port = int(self.url.rsplit(":", 1)[1])
        if wait:
            self.wait_until_healthy()

    def wait_until_healthy(self):
        for _ in range(1200):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(self.url + "/healthz", timeout=60)
                return
            time.sleep(0.1)
        raise RuntimeError("the model does not load")

    def stop(self, how=signal.SIGTERM):
        """Ends the server; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def raw(self, data):
        """Sends bytes on a connection of their own; everything the server answers until it closes."""
        with self.connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(data)
            return read_all(connection)

    def call(self, path, body=None, method=None, headers=None):
        """(status, headers, bytes) of one request; `body` is sent as JSON unless it is bytes."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def json(self, path, body=None, **rest):
        status, _, data = self.call(path, body, **rest)
        return status, json.loads(data)


def read_all(connection):
    out = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            out += chunk
    return out


def status_of(answer):
    """The status of a raw answer, and whether its body is an error as the interface has it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    if status >= 400:
        error = json.loads(body)["error"]
        assert set(error) >= {"type", "message", "param"} and "\n" not in error["message"], error
    return status
