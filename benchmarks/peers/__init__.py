"""Other servers around the same `Predictor`, one file each, as their manuals would have them written.

Each is run by the file's path with ARTIFACT and PORT in the environment, on 127.0.0.1, by the
Python of its own environment (`requirements.txt` beside it where it has one), with `toolkit` on
PYTHONPATH. `servers` says how each is started, asked and understood.
"""
