#!/bin/sh
# Run once, when PostgreSQL makes its cluster: the roles of the exchange, none of which is a superuser, and its database.
# What each may do to the tables is granted by `exchange db grant`, once they are there.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  --set owner="$(cat /run/secrets/owner_password)" --set app="$(cat /run/secrets/app_password)" <<'SQL'
CREATE ROLE exchange_owner LOGIN PASSWORD :'owner';
CREATE ROLE exchange_app LOGIN NOINHERIT PASSWORD :'app';
CREATE ROLE exchange_member NOLOGIN;
CREATE ROLE exchange_reader NOLOGIN;
GRANT exchange_member TO exchange_app;
CREATE DATABASE exchange OWNER exchange_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
REVOKE ALL ON DATABASE exchange FROM PUBLIC;
GRANT CONNECT ON DATABASE exchange TO exchange_app;
SQL
