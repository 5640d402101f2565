"""Reads otpauth URIs with pyotp, computes codes, and checks our codes."""

import json
import sys

import pyotp

apps = []
for asked in json.load(sys.stdin):
    app = pyotp.parse_uri(asked["uri"])
    pairs = list(zip(asked["times"], asked["codes"]))
    apps.append(
        {
            "secret": app.secret,
            "issuer": app.issuer,
            "name": app.name,
            "digits": app.digits,
            "interval": app.interval,
            "codes": [app.at(time) for time in asked["times"]],
            "taken": sum(app.verify(code, for_time=time) for time, code in pairs),
            "taken_a_step_later": sum(app.verify(code, for_time=time + 30) for time, code in pairs),
        }
    )
json.dump(apps, sys.stdout)
