# The server of `make play`, with its page (docs/serving.md): docker build -t stic . && docker run --rm -p 127.0.0.1:8501:8501 stic
FROM python:3.11-slim

RUN useradd --create-home stic && install -d -o stic /stic
USER stic
WORKDIR /stic
# The pins first, so that a change of code installs nothing anew.
COPY --chown=stic requirements.txt pyproject.toml README.md LICENSE ./
COPY --chown=stic tools/set_up.sh tools/find_python.sh ./tools/
COPY --chown=stic stic_tf/__init__.py ./stic_tf/
RUN bash tools/set_up.sh requirements.txt
COPY --chown=stic . .
# Exports of zoo/, so that the container starts with a warm-up and nothing else.
RUN bash tools/play.sh --export
EXPOSE 8500 8501
CMD ["bash", "tools/play.sh", "--host=0.0.0.0"]
