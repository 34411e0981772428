"""An artifact behind HTTP: a lean ASGI application in front of BentoML's own.

::

    request ─► seam (outermost wrapper around BentoML's application) ─► app (routes, problems)
                 │ everything else: BentoML's pages, metrics, schema       │ bodies, admission
                 ▼                                                         ▼
               BentoML                                                  served (a warmed Predictor)

One file a subject; `seam` alone knows BentoML, and nothing here knows torch.
"""
