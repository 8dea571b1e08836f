#!/usr/bin/env python3
"""One socket of libzmq, which says what a test wants to see, and exits with 0 if it saw it, too.

    PYTHONPATH=$(tests/foreign/pyzmq) tests/foreign/pyzmq_peer.py '{"socket": "DEALER", "connect": 5555}'

The argument is JSON: "socket"; "connect": PORT or ENDPOINT, or nothing to bind a free port of 127.0.0.1 and print it;
"mechanism": NULL, PLAIN or CURVE; "user", "password", "public", "secret", "server" (the server's public key) of a
client; "hear", of a SUB: the one frame that it waits for; "secret", "public" of a server, and "allow", the one client key or password that it lets in.
"""
import json
import signal
import sys

import zmq
from zmq.auth.thread import ThreadAuthenticator

# Lengths on both sides of each border: of a short frame, of cipher blocks, of a large message.
LENGTHS = [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 221, 222, 223, 255, 256, 257, 1023, 4096, 70_000]


class OneKey:
    """Lets one client key in."""

    def __init__(self, key):
        self.key = key

    def callback(self, domain, key):
        return key == self.key


def echo(sock):
    """A DEALER: what it sends comes back."""
    for length in LENGTHS:
        parts = [b"%d" % length, bytes(i * 7 % 256 for i in range(length))]
        sock.send_multipart(parts)
        assert sock.recv_multipart() == parts, length
    sock.send(b"done")


def answer(sock):
    """A ROUTER: sends back what comes, until that is "done"."""
    while True:
        peer, *parts = sock.recv_multipart()
        assert peer == b"the peer", peer
        sock.send_multipart([peer, *parts])
        if parts == [b"done"]:
            return


def subscribe(sock):
    """A SUB: hears what it subscribed to, then takes it back."""
    sock.subscribe(b"weather/")
    for payload in (b"1", b"2" * 70_000):
        assert sock.recv_multipart() == [b"weather/9", payload]
    sock.unsubscribe(b"weather/")


def hear(sock, frame):
    """A SUB: hears what a session of ringbus publishes."""
    sock.subscribe(frame.split(b"\0")[0])
    assert sock.recv_multipart() == [frame]
    print("heard", flush=True)


def publish(sock):
    """An XPUB: is told of a subscription, publishes, and is told that it is taken back."""
    assert sock.recv() == b"\x01weather/"
    sock.send_multipart([b"other", b"0"])
    sock.send_multipart([b"weather/9", b"1"])
    sock.send_multipart([b"weather/9", b"2" * 70_000])
    assert sock.recv() == b"\x00weather/"


def main():
    # A test that has failed reads nothing any more: this process ends all the same.
    signal.alarm(240)
    what = json.loads(sys.argv[1])
    mechanism = what.get("mechanism", "NULL")
    context = zmq.Context()
    sock = context.socket(getattr(zmq, what["socket"]))
    sock.linger = -1
    if what["socket"] == "DEALER":
        sock.routing_id = b"the peer"
    # PINGs often, and patience for the PONGs: a busy machine is slow.
    sock.heartbeat_ivl = 50
    sock.heartbeat_timeout = 120_000
    authenticator = None
    if "connect" not in what and mechanism != "NULL":
        authenticator = ThreadAuthenticator(context)
        authenticator.start()
    if mechanism == "PLAIN":
        if authenticator:
            sock.plain_server = True
            authenticator.configure_plain(passwords={"user": what["allow"]})
        else:
            sock.plain_username = what["user"].encode()
            sock.plain_password = what["password"].encode()
    if mechanism == "CURVE":
        sock.curve_secretkey = what["secret"].encode()
        sock.curve_publickey = what["public"].encode()
        if authenticator:
            sock.curve_server = True
            authenticator.configure_curve_callback(credentials_provider=OneKey(what["allow"].encode()))
        else:
            sock.curve_serverkey = what["server"].encode()
    if "connect" in what:
        at = what["connect"]
        sock.connect(at if isinstance(at, str) else f"tcp://127.0.0.1:{at}")
    else:
        print(sock.bind_to_random_port("tcp://127.0.0.1"), flush=True)
    if "hear" in what:
        hear(sock, what["hear"].encode())
    else:
        {"DEALER": echo, "ROUTER": answer, "SUB": subscribe, "XPUB": publish}[what["socket"]](sock)
    sock.close()
    if authenticator:
        authenticator.stop()
    context.term()


main()
