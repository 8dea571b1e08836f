#!/usr/bin/env bash
# aedes 1.2.0 (npm) delivers with QoS 2 what matches a filter with a wildcard, though it has granted that filter 1 or 0.
#
# MQTT 3.1.1, 3.8.4: the QoS is the lower one of the message's and the granted.
source "$(dirname "$0")/common.sh"
export RINGBUS_BROKERS=$folder/packages
broker aedes-1.2
python3 - <<'PYTHON'
import os
from mqtt import Client, Finding
finding, port = Finding(), int(os.environ["PORT"])
def delivered(name, filters):
    reader, writer = Client(port, name), Client(port, "writer-" + name)
    granted = [reader.subscribe(filter)[0] for filter in filters]
    writer.publish("a/x", "x", qos=2)
    writer.packet(0x50)
    writer.send(0x62, b"\0\1")
    return granted, [qos for _, _, qos, _, _ in reader.messages()]
finding.see("a/x with QoS 1: granted, delivered with", delivered("exact", [("a/x", 1)]), ([1], [1]))
finding.see("a/# with QoS 1: granted, delivered with", delivered("one", [("a/#", 1)]), ([1], [2]))
finding.see("a/# with QoS 1, a/+ with QoS 0: granted, delivered with", delivered("two", [("a/#", 1), ("a/+", 0)]), ([1, 0], [2]))
finding.end()
PYTHON
