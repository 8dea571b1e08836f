"""Servers that answer everything with their own address: HTTP, memcached's text protocol, and plain TCP."""
import atexit
import pathlib
import selectors
import socket
import threading

LISTENING = set()
STREAM = 11219  # What listens there answers each connection at once.


def serve(*addresses):
    """Listens on addresses, as `host:port`, on which nothing listens yet."""
    listeners = []
    for address in addresses:
        if address not in LISTENING:
            listeners.append(listener(address))
            LISTENING.add(address)
    if listeners:
        threading.Thread(target=answer, args=(listeners,), daemon=True).start()


def listener(address):
    host, port = address.split(":")
    if port:
        return socket.create_server((host, int(port)), backlog=1024)
    # A Unix domain socket, in whose name there is a colon behind the path.
    pathlib.Path(host).unlink(missing_ok=True)
    atexit.register(pathlib.Path(host).unlink, missing_ok=True)
    return socket.create_server(host, family=socket.AF_UNIX)


def name_of(sock):
    """The address at which it has been reached."""
    name = sock.getsockname()
    return f"{name}:" if isinstance(name, str) else ":".join(map(str, name))


def answer(listeners):
    selector = selectors.DefaultSelector()
    for listener in listeners:
        selector.register(listener, selectors.EVENT_READ)
    pending = {}
    while True:
        for ready, _ in selector.select():
            sock = ready.fileobj
            if sock in listeners:
                link = sock.accept()[0]
                name = name_of(link)
                if name.endswith(f":{STREAM}"):
                    link.sendall(name.encode())
                    link.close()
                else:
                    selector.register(link, selectors.EVENT_READ, name)
                    pending[link] = b""
                continue
            try:
                data = sock.recv(65536)
            except OSError:
                data = b""
            if not data:
                selector.unregister(sock)
                sock.close()
                pending.pop(sock)
                continue
            pending[sock] = respond(sock, ready.data.encode(), pending[sock] + data)


def respond(sock, name, data):
    """Answers the requests in `data`; what is left of it."""
    while True:
        if data.startswith(b"get "):
            line, end, rest = data.partition(b"\r\n")
            reply = b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (line[4:].strip(), len(name), name)
        elif data.startswith(b"version\r\n"):
            _, end, rest = data.partition(b"\r\n")
            reply = b"VERSION 1.6.18\r\n"
        else:
            _, end, rest = data.partition(b"\r\n\r\n")
            reply = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(name), name)
        if not end:
            return data
        sock.sendall(reply)
        data = rest
