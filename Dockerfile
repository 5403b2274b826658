# A server without torch, for models that have graphs: docker build -t keyframe-asr .
# docker run --rm -p 127.0.0.1:8000:8000 --read-only --tmpfs /tmp keyframe-asr

FROM python:3.12-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/keyframe && /opt/keyframe/bin/pip install --no-cache-dir '.[serve]'

FROM python:3.12-slim
COPY --from=build /opt/keyframe /opt/keyframe
ENV PATH=/opt/keyframe/bin:$PATH PYTHONUNBUFFERED=1 PYTHONUTF8=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"
ENTRYPOINT ["keyframe", "serve", "--host", "0.0.0.0"]
CMD ["english-mandarin", "an4"]
