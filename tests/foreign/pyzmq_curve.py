#!/usr/bin/env python3
"""One socket of libzmq under CURVE at the port of a ringbus session, or for one to connect to.

    PYTHONPATH=$(tests/foreign/pyzmq) tests/foreign/pyzmq_curve.py '{"role": "hear", "connect": "tcp://127.0.0.1:5556"}'

The argument is JSON: "role"; "connect", an address, or nothing to bind a free port of 127.0.0.1 and print it;
"file", a key file of ringbus; "server", the public key of the side that is connected to; "allow", the one client key
that is let in. Lines of the output tell what has come.
"""
import json
import signal
import sys

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator


class OneKey:
    """Lets one client key in."""

    def __init__(self, key):
        self.key = key

    def callback(self, domain, key):
        return key == self.key


def hear(sock):
    """A SUB: prints the publications of topic t, as the topic and the length of the payload."""
    sock.subscribe(b"t\0")
    while True:
        topic, payload = sock.recv().split(b"\0", 1)
        print(topic.decode(), len(payload), flush=True)


def answer(sock):
    """A ROUTER: tells who comes, and sends directed messages back as they are."""
    while True:
        peer, message = sock.recv_multipart()
        print(peer.decode(), message[:1] == b"d", flush=True)
        if message[:1] == b"d":
            sock.send_multipart([peer, message])


def main():
    # A test that has failed reads nothing any more: this process ends all the same.
    signal.alarm(240)
    what = json.loads(sys.argv[1])
    context = zmq.Context()
    sock = context.socket({"hear": zmq.SUB, "answer": zmq.ROUTER}[what["role"]])
    sock.linger = 0
    public, secret = zmq.auth.load_certificate(what["file"])
    sock.curve_publickey, sock.curve_secretkey = public, secret
    if "connect" in what:
        sock.curve_serverkey = what["server"].encode()
        # What the server says of the handshake is a line, too.
        monitor = sock.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
                                          | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        sock.connect(what["connect"])
        event = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
        print("welcome" if event == zmq.EVENT_HANDSHAKE_SUCCEEDED else "refused", flush=True)
        sock.disable_monitor()
    else:
        authenticator = ThreadAuthenticator(context)
        authenticator.start()
        authenticator.configure_curve_callback(credentials_provider=OneKey(what["allow"].encode()))
        sock.curve_server = True
        print(sock.bind_to_random_port("tcp://127.0.0.1"), flush=True)
    {"hear": hear, "answer": answer}[what["role"]](sock)


main()
