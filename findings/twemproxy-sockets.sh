#!/usr/bin/env bash
# twemproxy 0.5.0 (Debian 12) hashes the colon behind a Unix domain socket's path as part of its name, if the server has no
# name of its own: '/run/a.sock:1' is on the ring as '/run/a.sock:'. To give it the path as a name moves most of its keys.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download nutcracker >log 2>&1 && dpkg -x nutcracker_*.deb root)
export PYTHONPATH=$here:$here/../tests/vectors/placement_rings PYTHONDONTWRITEBYTECODE=1 FOLDER=$folder
python3 - "$folder" <<'PYTHON'
import os
import programs
from mqtt import Finding
finding = Finding()
paths = [f"{os.environ['FOLDER']}/{name}" for name in "abc"]
keys = [f"key-{i}" for i in range(300)]
def owners(name):
    """Where keys go, of servers that are named so."""
    lines = "".join(f'  - "{path}:1{name(path)}"\n' for path in paths)
    return programs.twemproxy([(f"{path}:", 1) for path in paths], keys, lines=lines)
unnamed = owners(lambda path: "")
finding.see("keys that move if each is named by its path and a colon",
            sum(a != b for a, b in zip(unnamed, owners(lambda path: f" {path}:"))), 0)
moved = sum(a != b for a, b in zip(unnamed, owners(lambda path: f" {path}")))
finding.see("most of 300 keys move if each is named by its path", moved > 150, True)
finding.end()
PYTHON
