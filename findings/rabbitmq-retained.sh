#!/usr/bin/env bash
# RabbitMQ 3.10.8 (Debian 12, plugin rabbitmq_mqtt) sends no retained message for a filter with a wildcard.
#
# MQTT 3.1.1, 3.3.1.3: "when a new subscription is established, the last retained message, if any, on each matching topic
# name MUST be sent". Here only the exact topic brings it.
source "$(dirname "$0")/common.sh"
broker rabbitmq-3.10
python3 - <<'PYTHON'
import os
from mqtt import Client, Finding
finding, port = Finding(), int(os.environ["PORT"])
writer = Client(port, "writer")
writer.publish("a/1", "kept", qos=1, retain=True)
writer.next()
for filter, expected in [("a/+", []), ("a/#", []), ("#", []), ("a/1", [("a/1", "kept", True)])]:
    reader = Client(port, "reader-" + filter.replace("/", "").replace("#", "h").replace("+", "p"))
    reader.subscribe((filter, 1))
    finding.see(f"retained for {filter}", [(t, p, r) for t, p, _, r, _ in reader.messages()], expected)
finding.end()
PYTHON
