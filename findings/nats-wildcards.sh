#!/usr/bin/env bash
# NATS 2.9.10 (Debian 12, JetStream): '*' and '>' in an MQTT filter are wildcards, as in NATS's own subjects; in MQTT they
# are letters. A '.' in a topic closes the publisher's connection.
source "$(dirname "$0")/common.sh"
broker nats-2.9
python3 - <<'PYTHON'
import os
from mqtt import Client, Finding
finding, port = Finding(), int(os.environ["PORT"])
writer = Client(port, "writer")
def heard(filter, topic):
    reader = Client(port, "reader-" + filter.replace("/", "").replace("*", "s").replace(">", "g"))
    reader.subscribe((filter, 1))
    writer.publish(topic, "x")
    return [topic for topic, *_ in reader.messages()]
finding.see("u/k/z published, heard by u/*/z", heard("u/*/z", "u/k/z"), ["u/k/z"])
finding.see("u/k/z published, heard by u/>", heard("u/>", "u/k/z"), ["u/k/z"])
finding.see("granted for the filter v1.2/x", Client(port, "dots").subscribe(("v1.2/x", 1)), [0x80])
writer.publish("v1.2/x", "x")
finding.see("the answer to a PUBLISH to v1.2/x (0 is the end of the connection)", writer.next()[0], 0)
finding.end()
PYTHON
