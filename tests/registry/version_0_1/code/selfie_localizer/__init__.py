"""Give it a folder of selfies, get a served model that says where the face is."""

import os

# Telemetry of every dependency is off unless the user turned it on: nothing here may talk to a network by itself.
# The libraries' own chatter is off as well.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "KERAS_BACKEND": "tensorflow",
}.items():
    os.environ.setdefault(_name, _value)
