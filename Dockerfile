# The serving image of a bento: Python, the bento's pinned requirements, the bento. No compiler, no torch.
#
#   toolkit package runs/trec-int8 --name trec
#   docker build -f Dockerfile -t trec "$(bentoml get trec:latest -o path)"
#   docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:3000:3000 trec
#
# The build context is the bento's own folder. Another bento can be mounted over /bento when it runs, as
# long as it was packaged beside the same versions. Settings: TOOLKIT_THREADS, TOOLKIT_QUEUE, ... as at /v1/model.
#
# Size budget: 300 MB compressed; the base takes 45 of it. Measure with:
#   docker save trec | gzip -1 | wc -c
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
COPY env/python/requirements.txt /tmp/requirements.txt
# every requirement is pinned, so nothing is resolved; wheels only, so nothing is compiled
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-deps --only-binary :all: -r /tmp/requirements.txt \
 && /opt/venv/bin/pip check \
 && ! /opt/venv/bin/python -c "import torch" 2>/dev/null \
 && /opt/venv/bin/python -m pip uninstall --yes pip setuptools \
 && find /opt/venv -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -rf {} +

FROM ${BASE}
COPY --from=build /opt/venv /opt/venv
COPY . /bento
RUN groupadd --system --gid 10001 serve \
 && useradd --system --uid 10001 --gid serve --no-create-home --shell /usr/sbin/nologin serve \
 && /opt/venv/bin/python -m compileall -q /opt/venv/lib /bento/src
# the root may be read-only: all that is written goes to /tmp
ENV PATH=/opt/venv/bin:$PATH \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=True \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/readyz', timeout=2)"]
# inside a container loopback is nobody's: publish the port to 127.0.0.1, as above
CMD ["bentoml", "serve", "/bento", "--host", "0.0.0.0", "--port", "3000"]
