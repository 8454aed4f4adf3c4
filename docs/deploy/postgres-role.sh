#!/bin/sh
# Run once, when PostgreSQL makes its cluster: the service's own role, which is no superuser, and its database.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  --set password="$(cat /run/secrets/exchange_password)" <<'SQL'
CREATE ROLE exchange LOGIN PASSWORD :'password';
CREATE DATABASE exchange OWNER exchange TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
REVOKE ALL ON DATABASE exchange FROM PUBLIC;
SQL
