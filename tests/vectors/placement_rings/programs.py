"""The programs: each function takes servers as (address, weight) and keys, and returns each key's server's address."""
import contextlib
import http.client
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

from servers import STREAM, serve

FOLDER = sys.argv[1]
HERE = os.path.dirname(os.path.abspath(__file__))
PORTS = itertools.count(21300)


def filtered(command, servers, keys):
    """A program that reads keys and writes a line for each."""
    command = [*command, *(f"{address}:{weight}" for address, weight in servers)]
    text = "".join(f"{key}\n" for key in keys)
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def by_place(command, servers, keys):
    return [servers[int(place)][0] for place in filtered(command, servers, keys)]


def libmemcached(servers, keys, behaviour):
    return by_place([f"{FOLDER}/libmemcached", behaviour], servers, keys)


def npm(servers, keys, package):
    return by_place(["node", f"{HERE}/npm.cjs", package], servers, keys)


def fast(servers, keys):
    serve(*(address for address, _ in servers))
    return filtered(["perl", f"{HERE}/fast.pl"], servers, keys)


@contextlib.contextmanager
def running(command, configuration, port, suffix=".conf"):
    """A program with its configuration in a file, whose name the command has as FILE, until it accepts connections."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "configuration" + suffix)
        with open(path, "w") as file:
            file.write(configuration.replace("DIRECTORY", directory))
        command = [path if word == "FILE" else word for word in command]
        with open(os.path.join(directory, "log"), "w") as log:
            program = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                assert program.poll() is None, open(log.name).read()
                time.sleep(0.05)
            yield
        finally:
            program.terminate()
            program.wait()


def ask_http(port, keys):
    link = http.client.HTTPConnection("127.0.0.1", port)
    for key in keys:
        link.putrequest("GET", "/")
        link.putheader("x-key", key.encode())
        link.endheaders()
        answer = link.getresponse()
        body = answer.read().decode()
        assert answer.status == 200, (key, answer.status, body)
        yield body
    link.close()


NGINX = f"{FOLDER}/root/usr/sbin/nginx"


def nginx(servers, keys, away=()):
    """Servers that are away are in the list, and do not listen."""
    serve(*(address for address, _ in servers if address not in away))
    port = next(PORTS)
    lines = "".join(f"  server {address} weight={weight};\n" for address, weight in servers)
    configuration = f"""daemon off; master_process off; pid DIRECTORY/pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{ access_log off; client_body_temp_path DIRECTORY/b; proxy_temp_path DIRECTORY/p;
 fastcgi_temp_path DIRECTORY/f; uwsgi_temp_path DIRECTORY/u; scgi_temp_path DIRECTORY/s;
 keepalive_requests 100000;
 upstream ring {{ hash $http_x_key consistent;
{lines} }}
 server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://ring; }} }} }}
"""
    with running([NGINX, "-c", "FILE"], configuration, port):
        return list(ask_http(port, keys))


def nginx_stream(servers, keys):
    """Keys are addresses of clients."""
    assert all(address.endswith(f":{STREAM}") for address, _ in servers)
    serve(*(address for address, _ in servers))
    port = next(PORTS)
    lines = "".join(f"  server {address} weight={weight};\n" for address, weight in servers)
    configuration = f"""load_module {FOLDER}/root/usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; master_process off; pid DIRECTORY/pid; error_log stderr crit; events {{ worker_connections 1024; }}
stream {{ upstream ring {{ hash $remote_addr consistent;
{lines} }}
 server {{ listen 0.0.0.0:{port}; proxy_pass ring; }} }}
"""
    with running([NGINX, "-c", "FILE"], configuration, port):
        for key in keys:
            with socket.create_connection(("127.0.0.1", port), source_address=(key, 0)) as link:
                yield link.makefile().read()


def haproxy(servers, keys, ids=None, disabled=(), kind="consistent"):
    serve(*(address for address, _ in servers))
    port = next(PORTS)
    lines = ""
    for place, (address, weight) in enumerate(servers):
        number = f" id {ids[place]}" if ids and ids[place] else ""
        lines += f" server s{place} {address} weight {weight}{number}{' disabled' if address in disabled else ''}\n"
    configuration = f"""defaults
 mode http
 timeout connect 5s
 timeout client 50s
 timeout server 50s
frontend f
 bind 127.0.0.1:{port}
 default_backend b
backend b
 balance hdr(x-key)
 hash-type {kind}
{lines}"""
    with running([f"{FOLDER}/root/usr/sbin/haproxy", "-db", "-f", "FILE"], configuration, port):
        return list(ask_http(port, keys))


def envoy(servers, keys):
    serve(*(address for address, _ in servers))
    port = next(PORTS)

    def socket_address(address):
        host, port = address.rsplit(":", 1)
        return {"socket_address": {"address": host, "port_value": int(port)}}

    endpoints = [
        {"endpoint": {"address": socket_address(address)}, "load_balancing_weight": weight}
        for address, weight in servers
    ]
    hcm = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    route = {"cluster": "ring", "hash_policy": [{"header": {"header_name": "x-key"}}]}
    manager = {
        "@type": hcm,
        "stat_prefix": "s",
        "route_config": {
            "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {
        "name": "l",
        "address": socket_address(f"127.0.0.1:{port}"),
        "filter_chains": [{"filters": filters}],
    }
    cluster = {
        "name": "ring",
        "type": "STATIC",
        "lb_policy": "RING_HASH",
        "load_assignment": {"cluster_name": "ring", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    configuration = json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
    site = next(entry.path for entry in os.scandir(f"{FOLDER}/venv/lib"))
    command = [f"{site}/site-packages/envoy/_bin/envoy", "-c", "FILE", "--use-dynamic-base-id", "--concurrency", "1"]
    with running(command, configuration, port, ".json"):
        return list(ask_http(port, keys))


def twemproxy(servers, keys, pool="", lines=None):
    """`pool` are more lines of the pool's configuration, without which the hash is its default; `lines` those of servers."""
    serve(*(address for address, _ in servers))
    port, stats = next(PORTS), next(PORTS)
    # The colon is there already in the address of a Unix domain socket.
    lines = lines or "".join(f"  - {address.removesuffix(':')}:{weight}\n" for address, weight in servers)
    configuration = f"p:\n listen: 127.0.0.1:{port}\n timeout: 5000\n{pool} servers:\n{lines}"
    command = [f"{FOLDER}/root/usr/sbin/nutcracker", "-c", "FILE", "-s", str(stats), "-a", "127.0.0.1", "-o", "/dev/null"]
    owners = []
    with running(command, configuration, port, ".yml"):
        with socket.create_connection(("127.0.0.1", port)) as link, link.makefile("rwb") as stream:
            for key in keys:
                stream.write(f"get {key}\r\n".encode())
                stream.flush()
                head, owner, end = (stream.readline().decode().strip() for _ in range(3))
                assert head.startswith("VALUE") and end == "END", (key, head)
                owners.append(owner)
    return owners
