"""Train a classifier, make it small, prove it right, serve it fast.

The flow, top to bottom; every arrow is one function and one command::

    Data ──train──► Classifier ──prune──► Classifier ──distill──► Classifier      torch world
                                                                      │ export    the one door
    Artifact ──quantize──► Artifact ──open──► Runner                              serving world
    parity, quality, latency ──► Report ──► package ──► bento ──► serve

This module imports nothing of its own: `toolkit --help` must be quick and serving must never load torch.
"""

import os

# ONNX Runtime's wheels for Linux (1.31, 1.32) write an identifier of the device and a database of events to the user's
# cache, made to be sent. Set before it can be imported; whoever wants it sets the variable to 0
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
