#!/usr/bin/env bash
# libzmq 4.3.5 (with pyzmq 27.3.0, PyPI) names its ERROR command wrongly where it refuses a password: "^RROR" stands for the
# name's length and "E", so a client that knows RFC 24 finds no command that it knows.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --root-user-action ignore --only-binary :all: \
    --target "$folder/pyzmq" pyzmq==27.3.0
export PYTHONPATH=$here:$folder/pyzmq PYTHONDONTWRITEBYTECODE=1
timeout 60 python3 - <<'PYTHON'
import socket
import zmq
from zmq.auth.thread import ThreadAuthenticator
from mqtt import Finding


def refusal(mechanism, prepare, hello):
    """The body of the command that answers a greeting and one command."""
    server = context.socket(zmq.REP)
    server.linger = 0
    prepare(server)
    port = server.bind_to_random_port("tcp://127.0.0.1")
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    stream = client.makefile("rb")
    client.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + mechanism.ljust(20, b"\0") + bytes(32))
    stream.read(64)
    client.sendall(bytes([4, len(hello)]) + hello)
    flags, size = stream.read(2)
    body = stream.read(size)
    client.close()
    server.close()
    return flags, body


def plain(server):
    server.plain_server = True


context = zmq.Context()
guard = ThreadAuthenticator(context)
guard.start()
guard.configure_plain(domain="*", passwords={"user": "right"})
finding = Finding()
finding.see("libzmq", zmq.zmq_version(), "4.3.5")
right = refusal(b"PLAIN", plain, b"\x05HELLO\x04user\x05right")
finding.see("the answer to the right password", right, (4, b"\x07WELCOME"))
wrong = refusal(b"PLAIN", plain, b"\x05HELLO\x04user\x05wrong")
finding.see("the answer to a wrong one (RFC 24: 05 'ERROR' 03 '400')", wrong, (4, b"^RROR\x03400"))
guard.stop()
context.term()
finding.end()
PYTHON
