#!/usr/bin/env bash
# NATS 2.9.10 (Debian 12, JetStream) refuses a session's 64th subscription with QoS 1; with QoS 0 it takes more.
#
# Each has a consumer of 1,024 unacknowledged messages (mqtt { max_ack_pending }), and a session has 65,535 packet ids.
source "$(dirname "$0")/common.sh"
broker nats-2.9
python3 - <<'PYTHON'
import os
from mqtt import Client, Finding
finding, port = Finding(), int(os.environ["PORT"])
client = Client(port, "many")
granted = [client.subscribe((f"a/{n}", 1))[0] for n in range(66)]
finding.see("granted with QoS 1, of 66", granted.count(1), 63)
finding.see("the answer to the 64th", granted[63], 0x80)
granted = [client.subscribe((f"b/{n}", 0))[0] for n in range(66)]
finding.see("granted with QoS 0, of 66", granted.count(0), 66)
finding.end()
PYTHON
