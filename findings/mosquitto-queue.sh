#!/usr/bin/env bash
# Mosquitto 2.0.11 (Debian 12), with its default limits, acknowledges what it drops for a slow reader, and tells nobody.
#
# A reader that acknowledges nothing has 20 messages under way (max_inflight_messages) and 1,000 waiting
# (max_queued_messages). Of what is published beyond, the publisher gets every PUBACK, and the reader nothing, ever.
source "$(dirname "$0")/common.sh"
"$here/../.ci/broker" install mosquitto
broker mosquitto
"$here/../.ci/broker" stop "$folder/broker"
sed -i '/^max_/d' "$folder/broker/mosquitto.conf"
broker mosquitto
python3 - <<'PYTHON'
import os
from mqtt import Client, Finding
finding, port = Finding(), int(os.environ["PORT"])
reader, writer = Client(port, "reader"), Client(port, "writer")
reader.subscribe(("data", 1))
COUNT, acknowledged = 5000, 0
for start in range(0, COUNT, 100):
    for n in range(start, start + 100):
        writer.publish("data", str(n), qos=1)
    acknowledged += sum(writer.packet(0x40)[0] == 0x40 for _ in range(100))
finding.see("PUBACKs that the publisher has got", acknowledged, COUNT)
heard = []
while (message := reader.message(1.5)) is not None:
    heard.append(int(message[1]))
    reader.puback(message[4])
finding.see("messages that the reader gets when it goes on", len(heard), 1020)
finding.see("they are the first ones, in order", heard == list(range(1020)), True)
writer.publish("data", "later", qos=1)
finding.see("and the next one that is published", reader.message()[1], "later")
finding.end()
PYTHON
