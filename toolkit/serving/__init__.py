"""An artifact behind HTTP: a lean ASGI application in front of BentoML's own.

::

    request ─► connections ─► app (routes, problems) ─► admission (jobs, batching) ─► served (a warmed Predictor)
                               │ everything else
                               ▼
                             BentoML: pages, metrics, schema; it packages, supervises and containerizes

One file a subject. `seam`, `connections`, `worker`, `supervisor` and `contained` know the inside of BentoML, uvicorn
and circus, the others do not; nothing here knows torch.
"""
