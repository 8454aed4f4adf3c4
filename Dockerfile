# The exchange as a container; compose.yaml runs it with PostgreSQL.
#
#   docker build -t exchange .
#   docker run --rm -e EXCHANGE_DATABASE_URL=postgresql://… exchange db upgrade
#   docker run --read-only --tmpfs /tmp --cap-drop ALL -e EXCHANGE_DATABASE_URL=postgresql://… -p 8000:8000 exchange
#
# The base is pinned by its tag and not by a digest, so that each build takes the newest security fixes of the same Python and Debian;
# everything that is installed upon it is pinned by hash in requirements.txt.
FROM python:3.12-slim-bookworm AS build
COPY requirements.txt /tmp/requirements.txt
RUN python -m venv /opt/exchange \
 && /opt/exchange/bin/pip install --no-cache-dir --require-hashes --requirement /tmp/requirements.txt \
 && /opt/exchange/bin/pip uninstall --yes pip
COPY exchange /opt/exchange/lib/python3.12/site-packages/exchange
COPY migrations /opt/exchange/lib/python3.12/site-packages/exchange/migrations
# Bytecode is made here: where it runs, nothing can be written.
RUN /opt/exchange/bin/python -m compileall -q /opt/exchange/lib/python3.12/site-packages/exchange

FROM python:3.12-slim-bookworm
# Nothing can be installed where it runs; /data is for a SQLite file on a volume.
RUN python -m pip uninstall --yes pip \
 && rm -rf /usr/local/lib/python3.12/ensurepip \
 && install -d -m 700 -o 10001 -g 10001 /data
COPY --from=build /opt/exchange /opt/exchange
ENV PATH=/opt/exchange/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /data
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["python", "-m", "exchange"]
CMD ["serve", "--host", "0.0.0.0"]
