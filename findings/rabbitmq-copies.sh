#!/usr/bin/env bash
# RabbitMQ 3.10.8 (Debian 12, plugin rabbitmq_mqtt): two filters of one session that match a message bring one copy if
# they have one QoS, and two copies if they have QoS 0 and 1. Each session has a queue for each QoS.
source "$(dirname "$0")/common.sh"
broker rabbitmq-3.10
python3 - <<'PYTHON'
import os
from mqtt import Client, Finding
finding, port = Finding(), int(os.environ["PORT"])
writer = Client(port, "writer")
for first, second, expected in [(1, 1, [1]), (0, 0, [0]), (0, 1, [0, 1]), (1, 0, [0, 1])]:
    reader = Client(port, f"reader-{first}{second}")
    reader.subscribe(("a/#", first))
    reader.subscribe(("a/+", second))
    writer.publish("a/x", "once", qos=1)
    copies = sorted(qos for _, _, qos, _, _ in reader.messages())
    finding.see(f"a/# with QoS {first}, a/+ with QoS {second}: the copies' QoS", copies, expected)
finding.end()
PYTHON
