# Antiphon: model server and web page on Debian slim; docs/docker.md explains the build arguments.

ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/antiphon
# The folder of wheels may hold a pip.conf: a builder's own index, proxy or certificates.
# SOURCE_DATE_EPOCH (1980) ties byte code to what is in a file, not to its time, which some builders round.
ENV PATH=/opt/antiphon/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_CONFIG_FILE=/wheels/pip.conf \
    SOURCE_DATE_EPOCH=315532800
# cpu or cuda: which wheel of torch is wanted.
ARG VARIANT=cpu
# Where pip finds that wheel: an index URL, or a folder of wheels in the build context.
ARG TORCH_INDEX=
ARG WHEELS=wheels
COPY requirements.txt ${WHEELS}* /wheels/
RUN set -eu; \
    torch=$(grep '^torch==' /wheels/requirements.txt); \
    if [ -n "$TORCH_INDEX" ]; then set -- --index-url "$TORCH_INDEX"; else set --; fi; \
    pip install --find-links /wheels "$@" "$torch"; \
    cuda=$(python -c 'import torch; print(torch.version.cuda or "no")'); \
    case "$VARIANT,$cuda" in \
        cuda,no) echo "VARIANT=cuda, but pip found torch for the CPU; see docs/docker.md" >&2; exit 1 ;; \
        cuda,*|cpu,no) ;; \
        cpu,*) echo "Note: pip found torch with CUDA, which makes a large image; see docs/docker.md" >&2 ;; \
        *) echo "VARIANT=$VARIANT is unknown; use cpu or cuda" >&2; exit 1 ;; \
    esac
RUN pip install -r /wheels/requirements.txt
COPY . /source
RUN chmod -R a+rX /source && pip install --no-deps /source

FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 ffmpeg \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --home-dir /home/antiphon antiphon \
    && install -d -o antiphon /models
COPY --from=build /opt/antiphon /opt/antiphon
ENV PATH=/opt/antiphon/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/models/hub \
    ANTIPHON_HEALTH_URL=http://localhost:10000/health
# Official weights are mounted here; the embedded ones are inside.
VOLUME /models
USER antiphon
WORKDIR /home/antiphon
EXPOSE 10000 8888
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(os.environ['ANTIPHON_HEALTH_URL'], timeout=4)"]
ENTRYPOINT ["antiphon"]
CMD ["serve", "--host", "0.0.0.0"]
