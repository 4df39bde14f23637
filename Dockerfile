# Two images: `service`, what an Envoy asks, with the core dependencies alone; `demo`, the same command with the mock
# vLLM and the traffic generator.
#
#   docker build --target service --tag dualpool .
#
# Plain instructions only, so that the classic builder, BuildKit and others build it alike.

# Any image with Python 3.11 or later as `python`, and pip; name a mirror's here.
ARG PYTHON_IMAGE=python:3.12-slim


FROM ${PYTHON_IMAGE} AS build-service
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY extproc extproc
# pip stays outside the environment that is copied on.
RUN python -m venv --without-pip /opt/dualpool \
    && python -m pip --python /opt/dualpool/bin/python install --no-cache-dir --constraint constraints.txt .

FROM build-service AS build-demo
RUN python -m pip --python /opt/dualpool/bin/python install --no-cache-dir --constraint constraints.txt '.[mock,demo]'


FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/dualpool/bin:$PATH \
    PYTHONUNBUFFERED=1
# A number, so that Kubernetes can check runAsNonRoot. Nothing in the image belongs to it: it writes nothing.
USER 65532:65532
ENTRYPOINT ["dualpool"]

FROM runtime AS demo
COPY --from=build-demo /opt/dualpool /opt/dualpool
CMD ["--help"]

# Last, so that it is what a build without --target makes.
FROM runtime AS service
COPY --from=build-service /opt/dualpool /opt/dualpool
# Loopback, the command's own default, would be unreachable from outside the container.
ENV DUALPOOL_LISTEN=0.0.0.0:50051 \
    DUALPOOL_METRICS_LISTEN=0.0.0.0:9464
EXPOSE 50051 9464
CMD ["serve"]
