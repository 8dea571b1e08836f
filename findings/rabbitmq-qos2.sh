#!/usr/bin/env bash
# RabbitMQ 3.10.8 (Debian 12, plugin rabbitmq_mqtt) answers a PUBLISH with QoS 2 by PUBACK.
#
# MQTT 3.1.1, 4.3.3, has PUBREC there. The plugin has no QoS 2: it grants 1, and a publisher, who gets no grant, waits for
# a PUBREC that does not come unless it takes the PUBACK for an end.
source "$(dirname "$0")/common.sh"
broker rabbitmq-3.10
python3 - <<'PYTHON'
import os
from mqtt import Client, Finding
finding, port = Finding(), int(os.environ["PORT"])
reader, writer = Client(port, "reader"), Client(port, "writer")
finding.see("granted for QoS 0, 1, 2", reader.subscribe(("a/0", 0), ("a/1", 1), ("a/2", 2)), [0, 1, 1])
writer.publish("a/2", "x", qos=2)
finding.see("first byte of the answer to a QoS 2 PUBLISH (0x40 is PUBACK, 0x50 PUBREC)", hex(writer.next()[0]), "0x40")
finding.see("delivered with QoS", reader.message()[2], 1)
finding.see("the connection stays", writer.is_open(), True)
finding.end()
PYTHON
