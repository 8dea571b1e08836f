"""A raw MQTT 3.1.1 client: what is sent and what comes is what is seen, with no library in between."""

import socket
import struct
import sys
import time

PATIENCE = 10.0
QUIET = 1.5


def length(n):
    out = b""
    while True:
        n, byte = divmod(n, 128)
        out += bytes([byte | (128 if n else 0)])
        if not n:
            return out


def text(value):
    return struct.pack(">H", len(value.encode())) + value.encode()


class Client:
    """One connection. Nothing is acknowledged unless it is said so."""

    def __init__(self, port, name, will=None):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.id = 0
        flags, rest = 2, text(name)
        if will:
            flags, rest = 6, rest + text(will[0]) + text(will[1])
        self.send(0x10, text("MQTT") + bytes([4, flags, 0, 60]) + rest)
        answer = self.packet(0x20)
        assert answer and answer[1][1] == 0, f"refused: {answer}"

    def send(self, head, body=b""):
        self.socket.sendall(bytes([head]) + length(len(body)) + body)

    def next_id(self):
        self.id += 1
        return self.id

    def next(self, patience=PATIENCE):
        """The next packet: its first byte and its body; None if none comes; (0, b"") if the connection was closed."""
        until = time.monotonic() + patience
        while True:
            size, shift = 0, 0
            for at in range(1, min(5, len(self.buffer))):
                byte = self.buffer[at]
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    end = at + 1 + size
                    if len(self.buffer) >= end:
                        head, body = self.buffer[0], self.buffer[at + 1 : end]
                        self.buffer = self.buffer[end:]
                        return head, body
                    break
            left = until - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(1 << 16)
            except socket.timeout:
                return None
            except ConnectionError:
                more = b""
            if not more:
                return 0, b""
            self.buffer += more

    def packet(self, kind, patience=PATIENCE):
        """The next packet of this kind; others are passed over."""
        until = time.monotonic() + patience
        while (left := until - time.monotonic()) > 0:
            got = self.next(left)
            if got is None or got[0] == 0 or got[0] & 0xF0 == kind:
                return got
        return None

    def subscribe(self, *filters):
        """Subscribes to (filter, QoS) pairs; the granted codes."""
        body = struct.pack(">H", self.next_id()) + b"".join(text(f) + bytes([q]) for f, q in filters)
        self.send(0x82, body)
        return list(self.packet(0x90)[1][2:])

    def publish(self, topic, payload, qos=0, retain=False):
        body = text(topic)
        if qos:
            body += struct.pack(">H", self.next_id())
        self.send(0x30 | qos << 1 | retain, body + payload.encode())

    def message(self, patience=PATIENCE):
        """The next message: (topic, payload, QoS, retained, packet id); None if none comes."""
        got = self.packet(0x30, patience)
        if got is None or got[0] == 0:
            return None
        head, body = got
        size = struct.unpack(">H", body[:2])[0]
        topic, rest, qos, number = body[2 : 2 + size].decode(), body[2 + size :], head >> 1 & 3, None
        if qos:
            number, rest = struct.unpack(">H", rest[:2])[0], rest[2:]
        return topic, rest.decode(), qos, bool(head & 1), number

    def messages(self, quiet=QUIET):
        """All messages until none has come for this long."""
        got = []
        while (message := self.message(quiet)) is not None:
            got.append(message)
        return got

    def puback(self, number):
        self.send(0x40, struct.pack(">H", number))

    def is_open(self):
        self.send(0xC0)
        got = self.packet(0xD0, 3)
        return got is not None and got[0] == 0xD0


class Finding:
    """Says what is seen, and ends with 1 if it is not what was seen before."""

    def __init__(self):
        self.changed = 0

    def see(self, what, seen, expected):
        same = seen == expected
        print(f"{'as before' if same else 'CHANGED'}: {what}: {seen}" + ("" if same else f", before: {expected}"))
        self.changed += not same

    def end(self):
        print("still so" if not self.changed else f"{self.changed} of it changed")
        sys.exit(1 if self.changed else 0)
