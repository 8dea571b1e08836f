#!/usr/bin/env python3
"""Writes placement_modes.json: placements computed by the programs whose rules ringbus's modes follow.

    pip install uhashring==2.5 ketama==0.1.1
    apt-get download nutcracker && dpkg -x nutcracker_0.5.0*.deb nutcracker      (Debian 12; needs libyaml-0-2)
    tests/vectors/placement_modes.py nutcracker/usr/sbin/nutcracker >tests/vectors/placement_modes.json

Programs, none of which shares code with ringbus:
  uhashring   PyPI, pure Python. hash_fn="ketama", replicas=3 is the rule of hash_ring, and replicas=4 that of libketama
              but for three things, listed under "differences".
  libketama   the C library of Last.fm in PyPI's "ketama", which gives its points as well.
  twemproxy   the proxy itself, between this script and servers that answer every `get` with their own name.

The script computes points of its own in one place alone: to find keys that lie exactly on a point or before one on
which two nodes meet. Where such keys go, the programs say. It uses ports on 127.0.0.1, 127.0.3.* and 127.0.4.*.
"""
import hashlib
import itertools
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

# Keys that every program takes: no blank, at most 250 bytes.
KEYS = [f"key-{i}" for i in range(240)] + [f"weather/{98101 + i}" for i in range(40)]
KEYS += ["é", "日本語", "🦀", "a" * 55, "b" * 56, "c" * 64, "d" * 119, "e" * 250]

EQUAL = [[(f"10.0.0.{i}:2201", 1) for i in range(1, n + 1)] for n in (1, 2, 3, 8, 25)]
WEIGHTED = [
    [("a", 1), ("b", 2), ("c", 3)],
    [("a", 600), ("b", 300), ("c", 200), ("d", 350), ("e", 1000)],
    [("big", 100), ("small", 1), ("none", 0)],
    [("n1", 4), ("n2", 7), ("n3", 19), ("n4", 13), ("n5", 7)],
]
# Equal weights that libketama's arithmetic gives 39 digests each, and whole numbers 40.
ROUNDED = [(f"10.0.0.{i}:2201", 1) for i in range(1, 62)]


def word(data, index=0):
    return struct.unpack_from("<I", hashlib.md5(data.encode()).digest(), 4 * index)[0]


def points(name):
    return [word(f"{name}-{j}", h) for j in range(40) for h in range(4)]


def uhashring(nodes, keys, replicas):
    from uhashring import HashRing

    ring = HashRing(dict(nodes), hash_fn="ketama", replicas=replicas)
    return len(ring.ring), [ring.get_node(key) for key in keys]


# In a process of its own: the binding crashes after some rings in one.
LIBKETAMA = """
import json, sys
from ketama import Ketama
ring = Ketama(sys.argv[1])
owners = [ring.get_server(key.encode())[1] for key in json.load(sys.stdin)]
json.dump([len({point for point, _ in ring.get_points()}), owners], sys.stdout)
"""


def libketama(nodes, keys):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "servers")
        with open(path, "w") as file:
            file.writelines(f"{name}\t{weight}\n" for name, weight in nodes)
        command = [sys.executable, "-c", LIBKETAMA, path]
        done = subprocess.run(command, input=json.dumps(keys), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def answer(listeners):
    """Memcached servers that know one answer: where they listen."""
    selector = selectors.DefaultSelector()
    for listener in listeners:
        selector.register(listener, selectors.EVENT_READ)
    while True:
        for ready, _ in selector.select():
            sock = ready.fileobj
            if sock in listeners:
                selector.register(sock.accept()[0], selectors.EVENT_READ, ":".join(map(str, sock.getsockname())))
                continue
            data = sock.recv(65536)
            if not data:
                selector.unregister(sock)
                sock.close()
            for line in data.split(b"\r\n"):
                if line.startswith(b"get "):
                    name = ready.data.encode()
                    sock.sendall(b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (line[4:].strip(), len(name), name))


LISTENERS = {}


def serve(address):
    if address not in LISTENERS:
        listener = socket.create_server((address[0], address[1]))
        LISTENERS[address] = listener
        threading.Thread(target=answer, args=([listener],), daemon=True).start()


def twemproxy(nodes, keys):
    """Nodes whose names are addresses are servers without a name of their own."""
    names, lines = {}, []
    for index, (name, weight) in enumerate(nodes, 1):
        if name.startswith("127."):
            host, port = name.split(":")
            own = ""
        else:
            host, port, own = f"127.0.3.{index}", 21211, f" {name}"
        serve((host, int(port)))
        names[f"{host}:{port}"] = name
        lines.append(f"  - {host}:{port}:{weight}{own}\n")
    pool = "p:\n listen: 127.0.0.1:21298\n hash: md5\n distribution: ketama\n timeout: 5000\n servers:\n"
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(pool + "".join(lines))
        file.flush()
        command = [sys.argv[1], "-c", file.name, "-s", "21299", "-a", "127.0.0.1", "-o", "/dev/null"]
        proxy = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            return None, [names[owner] for owner in ask(keys, proxy)]
        finally:
            proxy.terminate()
            proxy.wait()


def ask(keys, proxy):
    for _ in range(100):
        time.sleep(0.05)
        assert proxy.poll() is None, "nutcracker ended: is its configuration right?"
        try:
            link = socket.create_connection(("127.0.0.1", 21298))
            break
        except ConnectionRefusedError:
            pass
    with link, link.makefile("rwb") as stream:
        for key in keys:
            stream.write(f"get {key}\r\n".encode())
            stream.flush()
            head, owner, end = (stream.readline().decode().strip() for _ in range(3))
            assert head.startswith("VALUE") and end == "END", (key, head)
            yield owner


def colliding():
    """Pairs of names that have a point in common: one of equal length, one whose shorter name is the greater text."""
    seen, found = {}, {}
    for i in itertools.count():
        for point in points(f"n{i}"):
            other = seen.setdefault(point, i)
            equal = len(str(other)) == len(str(i))
            if other != i and equal not in found and (equal or str(other) > str(i)):
                found[equal] = (f"n{other}", f"n{i}", point)
        if len(found) == 2:
            return found[True], found[False]


def key_before(point, names):
    """A key that belongs to this point, if these nodes weigh the same."""
    before = max((p for name in names for p in points(name) if p < point), default=0)
    return next(key for i in itertools.count() if before < word(key := f"c{i}") < point)


def key_on_a_point(names):
    owners = {point: name for name in names for point in points(name)}
    circle = sorted(owners)
    following = {p: owners[q] for p, q in zip(circle, circle[1:] + circle[:1])}
    for i in itertools.count():
        point = word(f"p{i}")
        if point in owners and following[point] != owners[point]:
            return f"p{i}"


def case(program, mode, nodes, keys, run):
    count, owners = run(nodes, keys)
    index = {name: place for place, (name, _) in enumerate(nodes)}
    made = {"program": program, "mode": mode, "nodes": nodes, "owners": [index[owner] for owner in owners]}
    return made | ({} if count is None else {"points": count}) | ({} if keys is KEYS else {"keys": keys})


def main():
    cases, differences = [], []

    def three(nodes, keys):
        return uhashring(nodes, keys, 3)

    def four(nodes, keys):
        return uhashring(nodes, keys, 4)

    for nodes in [*EQUAL, *WEIGHTED, ROUNDED]:
        cases.append(case("uhashring 2.5, replicas=3", "hash_ring", nodes, KEYS, three))
    for nodes in [*EQUAL, *WEIGHTED]:
        cases.append(case("uhashring 2.5, replicas=4", "ketama", nodes, KEYS, four))
    positive = [[node for node in nodes if node[1]] for nodes in WEIGHTED]
    for nodes in [*EQUAL, *positive, ROUNDED]:
        cases.append(case("libketama", "ketama", nodes, KEYS, libketama))
        cases.append(case("twemproxy 0.5.0", "twemproxy", nodes, KEYS, twemproxy))
    local = [[(f"127.0.{net}.{i}:{port}", i) for i in range(1, 6)] for net, port in ((3, 21211), (4, 11211))]
    for nodes in [*local, local[0][:3] + local[1][:3]]:
        cases.append(case("twemproxy 0.5.0", "twemproxy", nodes, KEYS, twemproxy))

    programs = [("libketama", "ketama", libketama), ("twemproxy 0.5.0", "twemproxy", twemproxy)]

    def special(why, nodes, key):
        said = {"uhashring 2.5, replicas=4": four(nodes, [key])[1][0]}
        for program, mode, run in programs:
            cases.append(case(program, mode, nodes, [key], run))
            said[program] = run(nodes, [key])[1][0]
        differences.append({"why": why, "nodes": nodes, "key": key, "owners": said})

    same, unequal = colliding()
    for first, second, point in (same, unequal):
        key = key_before(point, [first, second])
        for names in ([first, second], [second, first]):
            special("two nodes meet in a point", [(name, 1) for name in names], key)
            cases.append(case("uhashring 2.5, replicas=3", "hash_ring", [(name, 1) for name in names], [key], three))
    names = [f"s{i}" for i in range(8)]
    special("the key lies on a point", [(name, 1) for name in names], key_on_a_point(names))
    said = [four(ROUNDED, KEYS)[1], libketama(ROUNDED, KEYS)[1]]
    key = next(key for key, one, other in zip(KEYS, *said) if one != other)
    special("the rounding of shares", ROUNDED, key)
    fives = WEIGHTED[3]
    many = [f"r{i}" for i in range(4000)]
    said = [libketama(fives, many)[1], twemproxy(fives, many)[1]]
    special("the rounding of shares", fives, next(key for key, one, other in zip(many, *said) if one != other))

    lines = (",\n ".join(json.dumps(item, ensure_ascii=False) for item in items) for items in (cases, differences))
    keys = json.dumps(KEYS, ensure_ascii=False)
    print('{"made_by": "tests/vectors/placement_modes.py",\n"keys": %s,\n"cases": [\n %s],\n"differences": [\n %s]}' % (keys, *lines))


main()
