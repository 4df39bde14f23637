# Two images: `service`, what an Envoy asks, with the core dependencies and OTLP alone; `demo`, the same with the mock
# vLLM and the traffic generator on top.
#
#   docker build --target service --tag dualpool .
#
# Plain instructions only: the classic builder, BuildKit and others build it alike.

# Any image with pip and Python 3.11 or later as `python`, on glibc (not Alpine, for which numba has no wheels): name your
# mirror's here.
ARG PYTHON_IMAGE=python:3.12-slim


FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md ./
COPY extproc extproc
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /dist .


FROM ${PYTHON_IMAGE} AS service
COPY --from=wheel /dist /dist
COPY constraints.txt /dist/
RUN python -m pip install --no-cache-dir --root-user-action ignore --constraint /dist/constraints.txt /dist/*.whl
# What `otlp_endpoint` needs: it cannot be added to a file system that is read-only.
RUN python -m pip install --no-cache-dir --root-user-action ignore --constraint /dist/constraints.txt 'dualpool[otlp]'
# The command's own default, loopback, could not be reached from outside the container.
ENV DUALPOOL_LISTEN=0.0.0.0:50051 DUALPOOL_METRICS_LISTEN=0.0.0.0:9464 PYTHONUNBUFFERED=1
# Where a volume may be mounted for `state_file`: a new one takes this owner. Beside it the service keeps what it compiled
# when it first started. Nothing else is ever written.
ENV NUMBA_CACHE_DIR=/state/compiled
RUN python -c "import os; os.mkdir('/state'); os.chown('/state', 65532, 65532)"
# A number, so that Kubernetes can check runAsNonRoot.
USER 65532:65532
ENTRYPOINT ["dualpool"]
EXPOSE 50051 9464
CMD ["serve"]


FROM service AS demo
USER 0:0
# dualpool itself is installed; this adds what its extras need.
RUN python -m pip install --no-cache-dir --root-user-action ignore --constraint /dist/constraints.txt 'dualpool[demo]'
USER 65532:65532
