"""An artifact behind HTTP: a lean ASGI application in front of BentoML's own.

::

    request ─► connections ─► app (routes, problems) ─► admission (jobs, batching) ─► served (a warmed Predictor)
                               │ everything else
                               ▼
                             BentoML: pages, metrics, schema; it packages, supervises and containerizes

One file a subject. `seam`, `connections`, `worker`, `supervisor`, `contained` and `metric_files` know the inside of
BentoML, uvicorn and others, the rest do not; nothing here knows torch.
"""
