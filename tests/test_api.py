"""The service over HTTP: the whole story of trades, replays, lists, statements, batches, and the document."""

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from doors import Door, amounts, fen, lst, mbr, opened, refused, trd
from exchanges import Party, Sale, a_price, a_sha256, a_uscc, terms_of
from openapi import CONVERSATION
from sqlalchemy.exc import OperationalError

from exchange.access.tables import Role
from exchange.api import doors as api_doors
from exchange.api.doors import RoleMissing, add
from exchange.api.shapes import USCC_EXAMPLE
from exchange.api.summary import ROUTES as SUMMARY_ROUTES
from exchange.app import create_app, openapi, openapi_json
from exchange.database import Database
from exchange.identifiers import Prefix, written_id
from exchange.revisions import SchemaNotCurrent
from exchange.settings import Settings
from exchange.trades.states import TradeState
