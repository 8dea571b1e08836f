#!/usr/bin/env bash
# libmemcached 1.1.4 (Debian 12) ends the process of a client with ketama that gets its 101st server: it asserts that a
# hundred points a server fit into the 10,000 of an array that it has had no use for since 0.31.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download libmemcached-dev libmemcached11 libhashkit-dev libhashkit2 libsasl2-dev >log 2>&1
for package in *.deb; do dpkg -x "$package" root; done
lib=$folder/root/usr/lib/x86_64-linux-gnu
gcc -o client "$here/../tests/vectors/placement_rings/libmemcached.c" -Iroot/usr/include -L"$lib" -lmemcached -lhashkit
export LD_LIBRARY_PATH=$lib PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1
python3 - <<'PYTHON'
import subprocess
from mqtt import Finding
finding = Finding()
for ketama in ("ketama", "ketama_weighted"):
    for count in (100, 101):
        servers = [f"127.77.0.{i}:11212:1" for i in range(1, count + 1)]
        done = subprocess.run(["./client", ketama, *servers], input=b"key\n", capture_output=True)
        finding.see(f"signal that ends a client of {count} servers ({ketama})", -done.returncode, 6 * (count > 100))
finding.end()
PYTHON
