#!/usr/bin/env bash
# RabbitMQ 3.10.8 (Debian 12, plugin rabbitmq_mqtt): ten unacknowledged messages stop all that a session subscribed to with
# QoS 1, messages with QoS 0 on other topics included.
#
# What matches a session's filters with QoS 1 goes through one queue, out of which mqtt.prefetch messages are under way,
# ten by default. So a session receives ten messages a round trip at most, and a message that needs no acknowledgement
# waits behind those that do. A filter with QoS 0 has a queue of its own and is not stopped.
source "$(dirname "$0")/common.sh"
broker rabbitmq-3.10
python3 - <<'PYTHON'
import os
from mqtt import Client, Finding
finding, port = Finding(), int(os.environ["PORT"])
reader, writer = Client(port, "reader"), Client(port, "writer")
reader.subscribe(("data", 1), ("control", 1), ("lane", 0))
for n in range(50):
    writer.publish("data", str(n), qos=1)
for n in range(50):
    writer.next()
data = reader.messages()
finding.see("of 50 with QoS 1, none acknowledged, have come", len(data), 10)
writer.publish("control", "urgent", qos=0)
finding.see("then QoS 0 to another filter with QoS 1", [t for t, *_ in reader.messages()], [])
writer.publish("lane", "urgent", qos=0)
finding.see("then QoS 0 to a filter with QoS 0", [t for t, *_ in reader.messages()], ["lane"])
for *_, number in data:
    reader.puback(number)
finding.see("after ten acknowledgements", [t for t, *_ in reader.messages()], ["data"] * 10)
finding.end()
PYTHON
