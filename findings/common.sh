# What the scripts beside this file share; they source it. Nothing of ringbus runs: a broker from public packages of a fixed
# version (.ci/broker installs and starts it), and the raw client of mqtt.py.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
export PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1

end() {
    "$here/../.ci/broker" stop "$folder/broker"
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# broker NAME: installs and starts it; PORT is where it listens.
broker() {
    "$here/../.ci/broker" install "$1"
    PORT=$("$here/../.ci/broker" start "$1" "$folder/broker")
    export PORT=${PORT##*:}
}
