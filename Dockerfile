# The exchange as a container: `docker build -t exchange .`, then
#   docker run --read-only -e EXCHANGE_DATABASE_URL=postgresql://… -p 8000:8000 exchange
# and for the schema: docker run -e EXCHANGE_DATABASE_URL=… exchange db upgrade
FROM python:3.12-slim AS build
COPY requirements.txt /tmp/requirements.txt
RUN python -m venv /opt/exchange \
 && /opt/exchange/bin/pip install --no-cache-dir --require-hashes --requirement /tmp/requirements.txt \
 && /opt/exchange/bin/pip uninstall --yes pip
COPY exchange /opt/exchange/lib/python3.12/site-packages/exchange
COPY migrations /opt/exchange/lib/python3.12/site-packages/exchange/migrations

FROM python:3.12-slim
COPY --from=build /opt/exchange /opt/exchange
ENV PATH=/opt/exchange/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["python", "-m", "exchange"]
CMD ["serve", "--host", "0.0.0.0"]
