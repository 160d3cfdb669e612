# The worker, the trainer and the commands in one image; see compose.yaml.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /venv
COPY . .
RUN /venv/bin/pip install --no-cache-dir -c constraints.txt .

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home micro && install -d -o micro -g micro /models
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
USER micro
WORKDIR /home/micro
VOLUME /models
ENTRYPOINT ["micro-intents"]
CMD ["--help"]
