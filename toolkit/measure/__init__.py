"""How fast and how large: latency in process, and the footprint of a fresh process.

This module imports nothing: the footprint of a process would carry it.
"""
