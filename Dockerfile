# Built from package registries alone: the image holds no model; mount one at /model.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
COPY configs configs
RUN python -m venv /opt/freelm \
    && /opt/freelm/bin/pip install --no-cache-dir --constraint constraints.txt '.[serve]'

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 freelm
COPY --from=build /opt/freelm /opt/freelm
USER freelm
ENV PATH=/opt/freelm/bin:$PATH \
    HF_HUB_OFFLINE=1 \
    PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
# The key is demanded: a container listens beyond its loopback.
ENTRYPOINT ["freelm", "serve", "--host", "0.0.0.0", "--api-key-env", "FREELM_API_KEY"]
CMD ["/model"]
