#!/usr/bin/env bash
# RabbitMQ 3.10.8 (Debian 12, plugin rabbitmq_mqtt) has one separator for '.' and '/', and one wildcard for '*' and '+'.
#
# A topic's name comes back changed: v1.2/x as v1/2/x, and a*/x as a+/x, which is no valid topic name.
source "$(dirname "$0")/common.sh"
broker rabbitmq-3.10
python3 - <<'PYTHON'
import os
from mqtt import Client, Finding
finding, port = Finding(), int(os.environ["PORT"])
writer = Client(port, "writer")
def heard(filter, topic):
    reader = Client(port, "reader")
    reader.subscribe((filter, 1))
    writer.publish(topic, "x")
    return [topic for topic, *_ in reader.messages()]
finding.see("v1.2/x published, heard by v1.2/x", heard("v1.2/x", "v1.2/x"), ["v1/2/x"])
finding.see("v1.2/x published, heard by +/x", heard("+/x", "v1.2/x"), [])
finding.see("v1.2/x published, heard by +/+/x", heard("+/+/x", "v1.2/x"), ["v1/2/x"])
finding.see("v1/2/x published, heard by v1.2/x", heard("v1.2/x", "v1/2/x"), ["v1/2/x"])
finding.see("b/*/x published, heard by b/#", heard("b/#", "b/*/x"), ["b/+/x"])
finding.see("c/d/x published, heard by c/*/x", heard("c/*/x", "c/d/x"), ["c/d/x"])
finding.end()
PYTHON
