# crackmap in a container; needs BuildKit, which docker and podman build with.
#
#   docker build --target cpu  --tag crackmap:cpu  --build-arg EXTRAS=openvino .
#   docker build --target cuda --tag crackmap:cuda .
#   docker run --rm --init --user "$(id -u):$(id -g)" --volume "$PWD/survey:/data:ro" --volume "$PWD/out:/out" \
#       crackmap:cpu run /data -o /out
#
# Versions are those that setup.cfg allows.

FROM python:3.11-slim-bookworm AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PATH=/venv/bin:$PATH

# What builds does not stay: only /venv is taken from here.
FROM base AS build
RUN python -m venv /venv
WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY calibration calibration
COPY stages stages
COPY pipeline pipeline
COPY cli cli
# Of setup.cfg, with commas: "openvino".
ARG EXTRAS=""
# With the Linux wheels of PyTorch come 4 GB of CUDA's libraries, of which `cpu` has no use. Its makers keep an index of
# wheels without them: give its address here.
ARG TORCH_INDEX=""
# The cache is the builder's: a changed line of crackmap does not fetch PyTorch again, and nothing of it is in the image.
# hadolint ignore=DL3013
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".${EXTRAS:+[$EXTRAS]}"

FROM base AS runtime
# Libraries that OpenCV loads. Debian keeps only the newest of a release, so no version can be named that stays there.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /var/cache/crackmap crackmap \
    # Whoever --user says it is must be able to keep prepared nets here, and to write results.
    && install --directory --mode 1777 /var/cache/crackmap /data /out
ENV HOME=/var/cache/crackmap CRACKMAP_CACHE=/var/cache/crackmap MPLCONFIGDIR=/var/cache/crackmap
COPY --from=build /venv /venv
WORKDIR /data
VOLUME /out
# Photographs of roads show people and number plates: what is written is for its owner alone.
ENTRYPOINT ["/bin/sh", "-c", "umask 077 && exec crackmap \"$@\"", "crackmap"]
CMD ["--help"]

FROM runtime AS cuda
# The wheels bring the CUDA libraries; of the host comes the driver alone (libcuda, and NVML to ask it), which NVIDIA's
# container toolkit puts in place where these two ask for it. A base image with CUDA would hold it a second time.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001

FROM runtime AS cpu
USER 10001:10001
