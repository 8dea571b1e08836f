#!/usr/bin/env bash
# HAProxy 2.6.12 (Debian 12): 'hash-type consistent' and 'hash-type consistent sdbm' are not the same, although sdbm is the
# default. To name the hash leaves out the avalanche behind it; 'sdbm avalanche' is what the default is. And of a header
# 'balance hdr' hashes what stands before its first comma.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 >log 2>&1
    for package in *.deb; do dpkg -x "$package" root; done)
export LD_LIBRARY_PATH=$folder/root/usr/lib/x86_64-linux-gnu
export PYTHONPATH=$here:$here/../tests/vectors/placement_rings PYTHONDONTWRITEBYTECODE=1
python3 - "$folder" <<'PYTHON'
import programs
from mqtt import Finding
finding = Finding()
servers = [(f"127.77.0.{i}:11212", 1) for i in (1, 2, 3)]
keys = [f"key-{i}" for i in range(300)]
default = programs.haproxy(servers, keys)
def moved(kind):
    return sum(a != b for a, b in zip(default, programs.haproxy(servers, keys, kind=kind)))
finding.see("keys that move with 'consistent sdbm avalanche'", moved("consistent sdbm avalanche"), 0)
finding.see("most of 300 keys move with 'consistent sdbm'", moved("consistent sdbm") > 150, True)
listed = [f"{key},{i}" for i, key in enumerate(keys)]
finding.see("keys that move if a comma and more are appended", sum(a != b for a, b in
            zip(default, programs.haproxy(servers, listed))), 0)
finding.end()
PYTHON
