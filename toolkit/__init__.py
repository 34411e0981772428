"""Train a classifier, make it small, prove it right, serve it fast.

The flow, top to bottom; every arrow is one function and one command::

    Data ──train──► Classifier ──prune──► Classifier ──distill──► Classifier      torch world
                                                                      │ export    the one door
    Artifact ──quantize──► Artifact ──open──► Runner                              serving world
    parity, quality, latency ──► Report ──► package ──► bento ──► serve

This module imports nothing: `toolkit --help` must be quick and serving must never load torch.
"""

__version__ = "0.1.0"
