"""Prints placement_rings.json; run by `make`, which says what it needs. None of the programs shares code with ringbus.
Nothing here computes a placement: only keys are sought that lie on a point, or before one on which two servers meet."""
import functools
import itertools
import json
import struct
import sys
import zlib

import programs
from servers import STREAM

# Keys that every program takes: no blank, at most 250 bytes.
KEYS = [f"key-{i}" for i in range(200)] + ["é", "日本語", "🦀", "a" * 55, "b" * 56, "c" * 64, "e" * 250]
KEYS += ["x" * n for n in range(1, 26)]
TAGGED = [f"user:{{{i}}}:name" for i in range(60)] + ["{}a", "a{b", "a}b{c}", "{a}{b}", "{{a}}", "ab"]
CLIENTS = [f"127.78.{i}.{i + j}" for i in range(20) for j in range(6)]

HASHES = "one_at_a_time md5 crc16 crc32 crc32a fnv1_64 fnv1a_64 fnv1_32 fnv1a_32 hsieh murmur jenkins".split()


def servers(count, port, weights=None):
    return [(f"127.77.0.{i + 1}:{port}", weights[i] if weights else 1) for i in range(count)]


def lists(port, other):
    """Three servers on a port that is memcached's and on another, with weights, with one away, and more servers."""
    for port in (port, other):
        three = servers(3, port)
        yield from (three, servers(3, port, [1, 2, 3]), [three[0], three[2]])
    yield from (servers(count, other) for count in (1, 7, 14, 25, 47, 61, 100, 122))


def numbered(listed, ids):
    """Names with the numbers that HAProxy's servers are given."""
    return [f"{address}#{number}" if number else address for (address, _), number in zip(listed, ids)]


def case(program, mode, listed, keys, owners, rule=None):
    index = {address: place for place, (address, _) in enumerate(listed)}
    made = {"program": program, "mode": mode, "nodes": listed, "owners": [index[owner] for owner in owners]}
    made |= {} if rule is None else {"rule": rule}
    print(program, len(listed), file=sys.stderr)
    return made | ({} if keys is KEYS else {"keys": keys})


def one_at_a_time(text):
    value = 0
    for byte in text.encode():
        value = value + byte & 0xffffffff
        value = value + (value << 10) & 0xffffffff
        value ^= value >> 6
    value = value + (value << 3) & 0xffffffff
    value ^= value >> 11
    return value + (value << 15) & 0xffffffff


def one_at_a_time_points(server):
    return [one_at_a_time(f"{server}-{j}") for j in range(100)]


@functools.cache
def nginx_points(server):
    host, port = server.split(":")
    base, point, points = zlib.crc32(f"{host}\0{port}".encode()), 0, []
    for _ in range(160):
        point = zlib.crc32(struct.pack("<I", point), base)
        points.append(point)
    return points


def crc32(text):
    return zlib.crc32(text.encode())


def meeting(points_of, key_hash):
    """Two servers that meet in a point, and a key before it."""
    seen = {}
    for i, j in itertools.product(range(1, 100), range(1, 255)):
        server = f"127.77.{i}.{j}:11212"
        for point in points_of(server):
            other = seen.setdefault(point, server)
            if other != server:
                both = points_of(server) + points_of(other)
                before = max((p for p in both if p < point), default=0)
                if point - before > 1 << 20:
                    key = next(key for n in itertools.count() if before < key_hash(key := f"c{n}") < point)
                    return other, server, key


def on_a_point(servers):
    """A key on a point behind which lies one of another server."""
    owners = {point: server for server in servers for point in nginx_points(server)}
    circle = sorted(owners)
    wanted = {p for p, q in zip(circle, circle[1:] + circle[:1]) if owners[p] != owners[q]}
    return next(key for n in itertools.count() if crc32(key := f"p{n}") in wanted)


def special(weighted, plain, memcached):
    """Keys on points, and before points on which two servers meet; those of MD5 are from placement_modes.py."""
    for program, mode, run in [
        ("libmemcached 1.1.4, KETAMA_WEIGHTED", "libmemcached-weighted", weighted),
        ("npm memcached 2.2.2", "npm-memcached", memcached),
    ]:
        for one, other, key in [("n1213", "n1280", "c1708"), ("n789", "n1030", "c146")]:
            for names in ([one, other], [other, one]):
                listed = [(f"{name}:11211", 1) for name in names]
                yield case(program, mode, listed, [key], run(listed, [key]))
        listed = [(f"s{i}:11211", 1) for i in range(8)]
        yield case(program, mode, listed, ["p1274031"], run(listed, ["p1274031"]))
    for program, mode, run, points_of, key_hash in [
        ("nginx 1.22.1, http", "nginx", programs.nginx, nginx_points, crc32),
        ("Cache::Memcached::Fast 0.28", "nginx", programs.fast, nginx_points, crc32),
        ("libmemcached 1.1.4, KETAMA", "libmemcached", plain, one_at_a_time_points, one_at_a_time),
    ]:
        one, other, key = meeting(points_of, key_hash)
        for names in ([one, other], [other, one]):
            listed = [(name, 1) for name in names]
            yield case(program, mode, listed, [key], run(listed, [key]))
    listed = servers(3, 11212)
    key = on_a_point([address for address, _ in listed])
    yield case("nginx 1.22.1, http", "nginx", listed, [key], programs.nginx(listed, [key]))
    yield case("Cache::Memcached::Fast 0.28", "nginx", listed, [key], programs.fast(listed, [key]))


def main():
    weighted = functools.partial(programs.libmemcached, behaviour="ketama_weighted")
    plain = functools.partial(programs.libmemcached, behaviour="ketama")
    hashring = functools.partial(programs.npm, package="hashring")
    memcached = functools.partial(programs.npm, package="memcached")
    cases = []
    for listed in lists(11211, 11212):
        for program, mode, run in [
            ("libmemcached 1.1.4, KETAMA_WEIGHTED", "libmemcached-weighted", weighted),
            ("libmemcached 1.1.4, KETAMA", "libmemcached", plain),
            ("npm hashring 3.2.0", "npm-hashring", hashring),
            ("npm memcached 2.2.2", "npm-memcached", memcached),
            ("nginx 1.22.1, http", "nginx", programs.nginx),
            ("Cache::Memcached::Fast 0.28", "nginx", programs.fast),
            ("HAProxy 2.6.12", "haproxy", programs.haproxy),
            ("Envoy 1.40.0", "envoy", programs.envoy),
        ]:
            # Debian's libmemcached does not take more.
            if len(listed) <= 100 or "libmemcached" not in program:
                cases.append(case(program, mode, listed, KEYS, run(listed, KEYS)))
        owners = programs.twemproxy(listed, KEYS)
        cases.append(case("twemproxy 0.5.0", "twemproxy", listed, KEYS, owners, "fnv1a_64"))

    # A server that is in nginx's list, and does not answer, is not in ours.
    away = servers(3, 11213)
    left = [away[0], away[2]]
    owners = programs.nginx(away, KEYS, [away[1][0]])
    cases.append(case("nginx 1.22.1, http", "nginx", left, KEYS, owners))
    for listed in (servers(3, STREAM), servers(3, STREAM, [1, 2, 3])):
        owners = programs.nginx_stream(listed, CLIENTS)
        cases.append(case("nginx 1.22.1, stream", "nginx", listed, CLIENTS, owners))

    # HAProxy's numbers: written out, with one that is not, and with a server that is disabled, whose number stays its.
    three = servers(3, 11212, [1, 2, 3])
    for ids in ([3, 1, 2], [7, None, 1], [4000, 4001, None], [None, 1, None], [None, None, 1]):
        owners = dict(zip((address for address, _ in three), names := numbered(three, ids)))
        found = [owners[address] for address in programs.haproxy(three, KEYS, ids)]
        cases.append(case("HAProxy 2.6.12", "haproxy", [(n, w) for n, (_, w) in zip(names, three)], KEYS, found))
    names = numbered(three, [1, 2, 3])
    owners = dict(zip((address for address, _ in three), names))
    found = [owners[address] for address in programs.haproxy(three, KEYS, disabled=[three[1][0]])]
    listed = [(names[0], 1), (names[2], 3)]
    cases.append(case("HAProxy 2.6.12", "haproxy", listed, KEYS, found))

    sockets = [(f"/tmp/ringbus-vectors-{i}:", i) for i in (1, 2, 3)]
    owners = programs.twemproxy(sockets, KEYS)
    cases.append(case("twemproxy 0.5.0", "twemproxy", sockets, KEYS, owners, "fnv1a_64"))

    for name in HASHES:
        listed = servers(3, 11212)
        owners = programs.twemproxy(listed, KEYS, f" hash: {name}\n distribution: ketama\n")
        cases.append(case("twemproxy 0.5.0", "twemproxy", listed, KEYS, owners, name))
    for tag in ("{}", "aa"):
        for name in ("fnv1a_64", "md5"):
            listed = servers(5, 11212)
            owners = programs.twemproxy(listed, TAGGED, f' hash: {name}\n hash_tag: "{tag}"\n')
            cases.append(case("twemproxy 0.5.0", "twemproxy", listed, TAGGED, owners, f"{name}:{tag}"))

    cases += special(weighted, plain, memcached)

    lines = ",\n ".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in cases)
    keys = json.dumps(KEYS, ensure_ascii=False)
    print('{"made_by": "tests/vectors/placement_rings/make",\n"keys": %s,\n"cases": [\n %s]}' % (keys, lines))


main()
