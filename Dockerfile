# The serving image of a bento: Python, the bento's pinned requirements, the bento. No compiler, no torch.
#
#   toolkit package runs/trec-int8 --name trec
#   docker build -f Dockerfile -t trec "$(bentoml get trec:latest -o path)"
#   docker run --rm --read-only --tmpfs /tmp --cap-drop ALL -p 127.0.0.1:3000:3000 trec
#
# `container/build.sh trec:latest` (or an artifact's folder) does the same with whatever engine is here, holds the
# result against its budget, runs it and asks it. The build context is the bento's own folder.
#
# What is served can also be mounted, as long as it was packaged beside the same versions:
#   another bento of toolkit package:   -v BENTO_FOLDER:/bento:ro
#   an artifact as it is:               -v ARTIFACT_FOLDER:/artifact:ro -e TOOLKIT_ARTIFACT=/artifact
# The services of all tasks are in every image; packages are those of the bento it was built from, so an image made
# from a text bento serves any text model or recommender, and one made from an image bento (it has Pillow) all three.
#
# One process and no supervisor: when the worker dies the container ends, and whoever runs it starts another.
# Settings: TOOLKIT_THREADS, TOOLKIT_QUEUE, ... as shown at /v1/model.
#
# On a GPU: the target gpu, over NVIDIA's image of the CUDA libraries, with onnxruntime-gpu in place of onnxruntime
# (the same version exists of both) and, with TENSORRT=1, TensorRT 11. Built over a Debian without CUDA it answers on the
# CPU where TOOLKIT_PROVIDER=gpu-or-cpu allows it, and else does not start and says why; on a GPU it has not run yet.
#   docker build -f Dockerfile --target gpu -t trec-gpu "$(bentoml get trec:latest -o path)"
#   docker run --rm --gpus all --read-only --tmpfs /tmp -p 127.0.0.1:3000:3000 trec-gpu
ARG BASE=python:3.11-slim
ARG GPU_BASE=nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04

FROM ${GPU_BASE} AS gpu-python
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*

FROM gpu-python AS gpu-build
ARG TENSORRT=0
COPY env/python/requirements.txt /tmp/requirements.txt
RUN sed -i 's/^onnxruntime==/onnxruntime-gpu==/' /tmp/requirements.txt && grep -q '^onnxruntime-gpu==' /tmp/requirements.txt
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-compile --no-deps --only-binary :all: -r /tmp/requirements.txt \
 && /opt/venv/bin/pip install --no-cache-dir --no-compile "cuda-bindings>=13,<14" "nvidia-ml-py>=12" \
 && if [ "$TENSORRT" = 1 ]; then /opt/venv/bin/pip install --no-cache-dir --no-compile "tensorrt>=11,<12"; fi \
 && ! /opt/venv/bin/python -c "import torch" 2>/dev/null \
 && /opt/venv/bin/python -m pip uninstall --yes pip
COPY . /bento
RUN chmod -R u=rwX,go=rX /bento

FROM gpu-python AS gpu
RUN groupadd --system --gid 10001 serve \
 && useradd --system --uid 10001 --gid serve --no-create-home --shell /usr/sbin/nologin serve
COPY --from=gpu-build /opt/venv /opt/venv
COPY --from=gpu-build /bento /bento
# engines are built beside the first answers and kept in the cache: mount a volume there, or each start builds again
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/bento/src \
    TOOLKIT_PROVIDER=gpu \
    SERVING_TOOLKIT_CACHE=/tmp/serving-toolkit \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=True \
    ORT_DISABLE_TELEMETRY=1 \
    BENTOML_CONTAINERIZED=true \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-S", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/readyz', timeout=2)"]
CMD ["python", "-m", "toolkit.serving.contained", "/bento", "0.0.0.0", "3000"]

FROM ${BASE} AS build
COPY env/python/requirements.txt /tmp/requirements.txt
# every requirement is pinned, so nothing is resolved; wheels only, so nothing is compiled
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-compile --no-deps --only-binary :all: -r /tmp/requirements.txt \
 && /opt/venv/bin/pip check \
 && ! /opt/venv/bin/python -c "import torch" 2>/dev/null \
 && /opt/venv/bin/python -m pip uninstall --yes pip setuptools \
 && find /opt/venv -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -rf {} + \
 && /opt/venv/bin/python -m compileall -q /opt/venv/lib
COPY . /bento
# readable by all and writable by nobody but root, whatever the umask was where it was packaged
RUN chmod -R u=rwX,go=rX /bento && /opt/venv/bin/python -m compileall -q /bento/src

FROM ${BASE}
RUN groupadd --system --gid 10001 serve \
 && useradd --system --uid 10001 --gid serve --no-create-home --shell /usr/sbin/nologin serve
COPY --from=build /opt/venv /opt/venv
COPY --from=build /bento /bento
# the root may be read-only: all that is written goes to /tmp
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/bento/src \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=True \
    ORT_DISABLE_TELEMETRY=1 \
    BENTOML_CONTAINERIZED=true \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-S", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/readyz', timeout=2)"]
# inside a container loopback is nobody's: publish the port to 127.0.0.1, as above
CMD ["python", "-m", "toolkit.serving.contained", "/bento", "0.0.0.0", "3000"]
