# Two images of one tree.
#   control   API, keeper, beat, Flower, migrations: no torch
#   worker    the same with torch and its kin; jobs run here
FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --uid 10001 --create-home tuneyard \
 && install -d -o tuneyard -g tuneyard /data /data/beat /data/flower /data/storage /data/work /models
WORKDIR /opt/tuneyard
COPY requirements.lock ./

FROM base AS control
COPY pyproject.toml README.md ./
COPY api api
COPY cli cli
COPY core core
COPY migrations migrations
COPY workers workers
RUN pip install -c requirements.lock '.[s3]'
USER tuneyard
WORKDIR /home/tuneyard

FROM base AS worker
# triton compiles its kernels on the machine that runs them.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
# Several GB, and the same for every version of our own code: a layer of its own.
RUN pip install -c requirements.lock torch transformers peft bitsandbytes accelerate datasets
COPY pyproject.toml README.md ./
COPY api api
COPY cli cli
COPY core core
COPY migrations migrations
COPY workers workers
RUN pip install -c requirements.lock '.[s3,worker]'
USER tuneyard
WORKDIR /home/tuneyard
